"""Automation rules without a server: what never works, why one did not fire, and test cases.

`refusals` and the catalogue import fast. `engine` imports Prefect's server, about 2 s: only `headgate automations` and
`headgate.testing` do that.
"""
