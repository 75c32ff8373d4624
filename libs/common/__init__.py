"""What every service shares: a clock, a wire format and a runtime; never a table, a model or a rule."""
