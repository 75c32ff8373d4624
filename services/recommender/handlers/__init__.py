"""Use cases of the recommender: taking behaviour in, learning from it, recommending."""
