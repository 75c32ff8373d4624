"""Benchmarks and replays: the system under real data, measured from outside."""
