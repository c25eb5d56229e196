"""Where runs are executed: a Prefect worker on our work pool."""
