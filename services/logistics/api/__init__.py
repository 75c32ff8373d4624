"""Logistics over HTTP."""
