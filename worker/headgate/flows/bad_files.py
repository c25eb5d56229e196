"""Files with too many bad records: rejected as a whole, before any of their rows is committed."""

from collections import Counter, defaultdict

from headgate.flows.workbench import Workbench
from headgate.records.letters import Group, sum_up
from headgate.records.too_many_bad import too_many_bad


def reject_bad_files(bench: Workbench) -> None:
    """Reject the files of a claim that break `max_bad=`.

    This spares replays, because a person has asked for their good records, and files of which an earlier attempt has
    committed rows.
    """
    if bench.pipeline.max_bad is None:
        return
    records: Counter[int] = Counter()
    bad: defaultdict[int, list[Group]] = defaultdict(list)
    for chunk in bench.chunks:
        for extent in chunk.extents:
            records[extent.arrival_id] += extent.records
        for group in sum_up(chunk.read_letters()):
            bad[group.arrival_id].append(group)
    for arrival in bench.claim.arrivals:
        mine = arrival.arrival_id
        if arrival.range is not None or arrival.replay_of is not None or arrival.rows_committed:
            continue
        error = too_many_bad(bench.pipeline, records[mine], bad[mine])
        if error is not None and mine not in bench.left_out:
            bench.rejected[mine] = error
