"""The steps that bring a database of accounts to the tables of this version, run by `database.py`."""
