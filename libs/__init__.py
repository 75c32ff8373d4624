"""Libraries shared by the services."""
