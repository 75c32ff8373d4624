"""Pure rules of the recommender: no clock, no IO."""
