"""Which rows share a round, and so the quiet and the questions after it."""

ROUNDS: tuple[tuple[str, ...], ...] = (("F1", "F16", "F29"),)
