"""How Quayside is run: on a laptop, under Docker, on a cluster."""
