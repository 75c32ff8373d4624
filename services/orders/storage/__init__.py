"""All SQL of the orders service."""
