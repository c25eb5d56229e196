"""All that is a Prefect flow or task: thin wrappers around plain code, so that people see each step in the UI."""
