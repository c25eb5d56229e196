"""Where runs are executed: a Prefect worker of type `headgate`, which keeps processes warm.

`worker` is what Prefect finds; `warm` the worker itself, and `serving` its life; `pool` its processes, seen from the
worker, and `child` one of them, seen from inside; `attempt` one run in one process. `stream` tells the worker what
happens on the server, `reclaim` puts back what a killed worker left. All that is private in Prefect is touched in
`prefect_internals` alone; on a version of Prefect that this does not know, `process` works the slow, public way.
"""

# What the processes of `headgate work` share. Not users' code: a change of it is seen by the next process.
PRELOAD = ("worker.flows.ingest", "worker.flows.sweep", "polars", "dataframely", "psycopg_pool")
