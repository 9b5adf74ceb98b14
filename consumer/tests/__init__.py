"""Tests of the reference Consumer; run them from here or with `pytest consumer -c consumer/pytest.ini`."""
