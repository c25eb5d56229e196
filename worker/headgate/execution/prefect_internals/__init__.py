"""All of Prefect's internals that Headgate uses to execute runs.

`headgate.private_names` lists the names and checks whether they can be used. The tests in
tests/integration/test_warm_worker*.py check the code here against a real server.
"""
