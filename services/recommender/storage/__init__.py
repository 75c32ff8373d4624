"""All SQL of the recommender."""
