"""A Django project of its own: the same create, written as one would by hand, and as barely as Django allows."""
