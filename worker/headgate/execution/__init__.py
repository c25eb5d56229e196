"""Where runs are executed: a Prefect worker of type `headgate`, which keeps processes warm.

`worker` is what Prefect finds. `warm` holds the worker itself and `serving` its life cycle. `pool` holds its processes
as the worker sees them, `child` one of them from inside, and `executed_run` one run in one process. `stream` tells the
worker what happens on the server; `reclaim` puts back the runs of a killed worker. Only `prefect_internals` touches
Prefect's private names; on a version of Prefect that it does not know, `process` works the slow, public way.
"""

# Modules that the processes of `headgate work` share. Users' code is left out, so that the next process sees a change.
PRELOAD = ("headgate.flows.ingest", "headgate.flows.sweep", "polars", "dataframely", "psycopg_pool")
