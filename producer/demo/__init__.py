"""What `manage.py demo` and `manage.py simulate` are made of; the product itself imports nothing from here."""
