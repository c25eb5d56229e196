r"""The pipelines of the benchmark: the repository's flights; and for one big file the same without look-ups.

The big file is compared with `\copy`, which brings no columns but the file's; so its table has no more.
"""

import dataclasses

from headgate import Folder, Table

from automations.pipelines.flights import flights

big = dataclasses.replace(
    flights, name="big", sources=(Folder("big", patterns=("*.csv",)),), enrich=(), sink=Table("big", mode="upsert")
)

PIPELINES = (flights, big)
