"""Prefect events: doorbells that wake, and news of what was committed. The record is the ledger, never an event."""
