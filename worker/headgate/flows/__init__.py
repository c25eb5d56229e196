"""All Prefect flows and tasks: thin wrappers around plain code, so that each step is visible in the UI."""
