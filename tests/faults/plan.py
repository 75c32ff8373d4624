"""Which rows share a round, and so the quiet and the questions after it."""

ROUNDS: tuple[tuple[str, ...], ...] = (
    ("F1", "F2", "F3", "F4", "F5", "F6", "F69"),
    ("F7", "F8", "F9", "F10", "F11"),
    ("F24", "F16", "F17", "F18", "F19", "F20", "F70"),
    ("F21", "F22", "F23", "F25", "F26", "F27", "F66", "F67"),
    ("F38", "F29", "F30", "F31", "F32", "F33"),
    ("F34", "F68", "F35", "F40", "F41", "F42", "F43", "F44"),
    ("F12", "F13", "F14", "F15", "F51", "F52", "F53", "F64", "F65"),
    ("F28", "F36"),
)
