"""All SQL of the inventory service."""
