"""The bus: producing, consuming with one effect per event, dead letters, and following compacted topics."""
