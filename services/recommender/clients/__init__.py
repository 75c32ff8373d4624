"""What the recommender sends to: the behaviour topic."""
