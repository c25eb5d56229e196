"""Automation rules without a server: what never works, why one did not fire, and what fixtures make them do.

`refusals` and the catalogue are cheap. `engine` imports Prefect's server, about 2 s: only `headgate automations` and
`headgate.testing` do that.
"""
