"""What the manifest says has to be there, each row with the arrival that has it: the checker's first half."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from soak_data import Expected, unpacked
from soak_verdict import Connection, Verdict

Line = tuple[object, ...]  # of soak.expected
Entry = dict[str, object]  # of the manifest
Same = tuple[str, int]  # state and id of an arrival
Cut = tuple[int, int, int, bool]  # first offset, end and id of a range, and whether it is done


def of_files(connection: Connection, verdict: Verdict, files: list[Entry], inbox: Path) -> Iterator[Line]:
    """Hold files against arrivals, and give what is expected of their rows."""
    arrivals = defaultdict(list)
    for row in connection.execute(
        "select pipeline, name, arrival_id, state, encode(content_sha256, 'hex'), kept_at from headgate.arrival"
        " where kind = 'file' and replay_of is null order by arrival_id"
    ).fetchall():
        arrivals[str(row[0]), str(row[1])].append(row)
    waiting = {path.name for path in inbox.rglob("*") if path.is_file()}
    named = {(entry["where"], entry["name"]) for entry in files}
    verdict.note("doubled", sum(key not in named for key in arrivals), "arrivals of files that were never dropped")
    contents: dict[tuple[str, str], list[Same]] = defaultdict(list)
    order: list[int] = []
    for entry in files:
        where, name = str(entry["where"]), str(entry["name"])
        mine = arrivals[where, name]
        if not mine:
            verdict.note(*(("stuck", 1, f"{name} waits in the inbox") if name in waiting else ("lost", 1, name)))
            continue
        verdict.note("doubled", len(mine) - 1, f"more arrivals of {name}")
        _, _, number, state, sha256, kept_at = mine[0]
        verdict.note("altered", int(sha256 != entry["sha256"]), f"{name}: other bytes than were dropped")
        if state not in {"done", "rejected", "duplicate"}:
            pass  # it is counted as stuck
        elif kept_at is None or not Path(str(kept_at)).is_file():
            verdict.note("lost", 1, f"bytes of {name} are not kept ({state})")
        elif hashlib.sha256(Path(str(kept_at)).read_bytes()).hexdigest() != entry["sha256"]:
            verdict.note("altered", 1, f"bytes of {name} are kept otherwise than they were dropped")
        contents[where, str(entry["sha256"])].append((str(state), int(str(number))))
        if entry["where"] == "files-upsert":
            order.append(int(str(number)))
    verdict.figures["files"] = len(files)
    verdict.figures["files_numbered_out_of_order"] = sum(b < a for a, b in pairwise(order))
    return _file_lines(verdict, files, contents)


def _file_lines(verdict: Verdict, files: list[Entry], contents: Mapping[tuple[str, str], list[Same]]) -> Iterator[Line]:
    """See to it that of equal bytes one arrival is done, and give what is expected of its rows."""
    for entry in files:
        where, same = str(entry["where"]), contents[str(entry["where"]), str(entry["sha256"])]
        states = Counter(state for state, _ in same)
        if entry["kind"] == "rejected":
            verdict.note("broken", states["done"] + states["duplicate"], f"{entry['name']} is not rejected")
        elif entry["kind"] == "file":
            verdict.note("doubled", max(0, states["done"] - 1), f"{entry['name']}: equal bytes are done twice")
            verdict.note("broken", states["rejected"], f"{entry['name']} is rejected")
            for arrival in [number for state, number in same if state == "done"][:1]:  # else it is counted as a whole
                for place, *what in _lines(Expected.from_json(entry)):
                    yield where, arrival, place + 1, arrival, *what


def of_messages(connection: Connection, verdict: Verdict, batches: list[Entry], acknowledged: Path) -> Iterator[Line]:
    """Read the ranges, and give what is expected of the messages in them."""
    ranges: dict[tuple[str, int], list[Cut]] = defaultdict(list)
    for row in connection.execute(
        "select pipeline, partition, first_offset, end_offset, arrival_id, state from headgate.arrival"
        " where kind = 'range' and replay_of is null order by 1, 2, 3"
    ).fetchall():
        pipeline, partition, first, end, number, state = row
        cut = int(str(first)), int(str(end)), int(str(number)), state == "done"
        ranges[str(pipeline), int(str(partition))].append(cut)
        verdict.note("broken", int(state == "rejected"), f"range {number} of {pipeline} is rejected")
    cut_to = {
        (str(row[0]), int(str(row[1]))): int(str(row[2]))
        for row in connection.execute("select pipeline, partition, next_offset from headgate.cursor").fetchall()
    }
    return _message_lines(verdict, batches, acknowledged, ranges, cut_to)


def _message_lines(
    verdict: Verdict,
    batches: list[Entry],
    acknowledged: Path,
    ranges: Mapping[tuple[str, int], list[Cut]],
    cut_to: Mapping[tuple[str, int], int],
) -> Iterator[Line]:
    """Find each message in its range by the offset that the broker gave it."""
    told = {entry["batch"]: unpacked(entry["offsets"]) for entry in read(acknowledged)}
    published, missing, waiting = 0, 0, 0
    for batch in batches:
        where, offsets, partitions = str(batch["where"]), told.get(batch["number"]), unpacked(batch["partitions"])
        published += len(partitions)
        if offsets is None:
            verdict.note("stuck", len(partitions), f"messages of batch {batch['number']} were never acknowledged")
            continue
        for place, *what in _lines(Expected.from_json(batch)):
            cut, offset = ranges.get((where, partitions[place]), []), offsets[place]
            at = bisect_right(cut, (offset, 2**62, 0, True)) - 1
            if offset >= cut_to.get((where, partitions[place]), 0):
                waiting += 1
            elif at < 0 or cut[at][1] <= offset:
                missing += 1
            elif cut[at][3]:  # else it is counted as a whole
                yield where, cut[at][2], offset - cut[at][0] + 1, offset, *what
    verdict.note("stuck", waiting, "messages have not been cut")
    verdict.note("lost", missing, "messages are in no range, and the cursor has passed them")
    verdict.figures["messages"] = published


def read(path: Path) -> list[Entry]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _lines(expected: Expected) -> Iterator[tuple[int, int, int, str, bytes | None]]:
    """Give place, key, checksum, kind and the bad bytes' sha256 of each."""
    gone = set(expected.gone)
    for place, (total, key) in enumerate(zip(expected.sums, expected.keys, strict=True)):
        kind = "t" if place in gone else "b" if place in expected.bad else "g"
        yield place, key, total, kind, bytes.fromhex(expected.bad.get(place, "")) or None
