"""Processes forked from one that has already imported what they share."""
