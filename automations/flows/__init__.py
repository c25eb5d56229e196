"""Flows of this installation's own, started by rules in `automations/rules.py`."""
