"""Make a Prefect server match the code: work pools, deployments, automations and more, updated in place."""
