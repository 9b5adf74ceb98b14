"""Read by Django for LANGUAGE_CODE."""
