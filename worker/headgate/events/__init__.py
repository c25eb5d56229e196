"""Prefect events: doorbells that start runs, and news of what was committed. The ledger is the record, not events."""
