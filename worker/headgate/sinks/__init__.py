"""Sinks: the tables that records are written to."""
