"""A replay of a real shop's trading days through the public HTTP APIs."""
