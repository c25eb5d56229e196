"""`python -m worker.flows.engine` is `python -m prefect.engine`, half a second sooner: the process of one run.

Importing makes a million objects and hardly any garbage, and Python looks through all of them again and again. So it
does not look until everything is imported.
"""

import gc
import runpy

if __name__ == "__main__":
    gc.disable()
    import worker.flows.ingest  # noqa: F401 - what the run will need

    gc.freeze()
    gc.enable()
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
