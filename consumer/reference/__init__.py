"""The reference Consumer: a Django project of its own that knows the Producer only by the contract."""
