"""The use cases of the orders service: what it does, without how it is reached or stored."""
