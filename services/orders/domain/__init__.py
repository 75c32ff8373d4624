"""The rules of an order's way: pure functions and frozen values, no clock, no IO."""
