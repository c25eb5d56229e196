"""Watches topics, and plans and opens ranges of offsets; no message is read here."""
