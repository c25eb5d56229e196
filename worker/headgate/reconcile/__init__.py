"""What makes a Prefect server match the code: work pool, deployments and automations, changed in place."""
