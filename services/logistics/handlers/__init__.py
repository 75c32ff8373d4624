"""Use cases of logistics and the ports they need."""
