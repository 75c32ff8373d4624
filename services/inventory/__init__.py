"""Inventory: where the units of every SKU are, which of them are promised to orders, and why."""
