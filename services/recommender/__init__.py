"""Recommender: what visitors look at and buy together, and what to show them next."""
