"""Pure rules of logistics: no clock, no IO."""
