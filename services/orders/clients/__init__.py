"""Third parties: one module for each, and none of their words outside it."""
