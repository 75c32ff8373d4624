"""Use cases of inventory, and the ports that they need."""
