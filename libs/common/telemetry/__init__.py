"""Logs, metrics and traces: how a running process is seen from outside."""
