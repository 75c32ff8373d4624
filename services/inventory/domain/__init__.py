"""Pure rules of inventory: no clock, no IO."""
