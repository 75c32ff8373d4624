"""Orders: carries every order from received to settled, and its money with it."""
