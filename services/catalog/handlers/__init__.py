"""What can be done with the catalog, one function for each use case."""
