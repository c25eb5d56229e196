"""All that Headgate uses of what is private in Prefect: of 3.8.8, and of no other version.

`worker.execution.worker` looks whether this is the Prefect at hand before anything here is imported. The tests in
tests/integration/test_warm_worker*.py hold what is used here against a real server: run them when the version changes.
"""

VERSION = "3.8.8"
