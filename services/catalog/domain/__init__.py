"""The rules of the catalog, without a database and without a clock."""
