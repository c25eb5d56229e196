"""What the ledger and the watched folders tell `headgate doctor`: who is at work, what stands still, and why."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice

from headgate.app import App
from headgate.ledger.processes import ProcessRecord
from headgate.ledger.summary import database_time, open_rings
from headgate.listeners.files.source import Source, sources_of
from headgate.listeners.files.untaken import Why, untaken
from headgate.operations.finding import Answer, Verdict
from headgate.operations.overview import LATE, NEEDED, Condition, Overview, missing
from headgate.pipeline.loading import digest_of
from headgate.words import count, duration

UNANSWERED = 60.0  # seconds that a ring may wait for a run
SKEW = 5.0  # seconds that clocks may differ
FEW, MOST = 3, 1000  # examples, and files of a folder that are looked at


def process(kind: str, found: Overview) -> Answer:
    """Whether a process of a kind is at work."""
    alive = found.alive(kind)
    if not alive:
        return Verdict.FAILED, missing(kind, found.processes)
    troubles = [f"{each.where}: {each.trouble}" for each in alive if each.trouble]
    if troubles:
        return Verdict.FAILED, " ".join(troubles)
    return Verdict.OK, f"{len(alive)} at work: {', '.join(each.where for each in alive)}"


def needed(app: App) -> list[str]:
    """The kinds of processes that have to be at work."""
    topics = any(pipeline.topics for pipeline in app.pipelines)
    return [*NEEDED, *(["topics"] if topics and app.settings.kafka.bootstrap else [])]


def versions(app: App, found: Overview) -> Answer:
    """Whether all processes run the same code and the same declarations, those on the disk now."""
    alive = [each for each in found.processes if each.alive]
    numbers = {each.version for each in alive}
    if len(numbers) > 1:
        told = ", ".join(f"{each.kind} ({each.where}) {each.version}" for each in alive)
        return Verdict.WARNING, f"they differ: {told}; install one version everywhere, and restart."
    _, here = digest_of(app.settings.pipelines)
    old = [each for each in alive if each.digest != here]
    if old:
        told = ", ".join(
            f"{each.kind} ({each.where}) runs {each.pipelines} as it was at {_clock(each)}" for each in old
        )
        return Verdict.WARNING, f"the declarations are not those of {app.settings.pipelines} now: {told}; restart them."
    return (
        Verdict.OK,
        f"{len(alive)} processes run {', '.join(numbers) or 'nothing'} and the declarations as they are now",
    )


def clocks(app: App, found: Overview) -> Answer:
    """Whether the clocks of the hosts agree with the database's."""
    ours = (datetime.now(UTC) - database_time(app.database)).total_seconds()
    off = {each.host: each.skew_seconds for each in found.processes if each.alive and abs(each.skew_seconds) > SKEW}
    if abs(ours) > SKEW:
        off["this host"] = ours
    if off:
        told = ", ".join(f"{host} is {abs(by):.0f} s {'ahead' if by > 0 else 'behind'}" for host, by in off.items())
        return Verdict.WARNING, f"compared with the database's, {told}; synchronise them (NTP)."
    return Verdict.OK, f"they agree within {SKEW:.0f} s"


def rings(app: App) -> Answer:
    """Whether runs answer the announcer's rings."""
    open_ = [each for each in open_rings(app.database) if each.oldest_seconds > UNANSWERED]
    if open_:
        told = ", ".join(f"{each.pipeline}: {each.unanswered}, for {duration(each.oldest_seconds)}" for each in open_)
        return Verdict.FAILED, (
            f"no run answers ({told}); look for a worker, a paused work pool or automation, and runs that are queued "
            "in the Prefect UI."
        )
    return Verdict.OK, "runs answer"


def waiting(found: Overview) -> Answer:
    """Whether what waits is worked on."""
    held = [f"{name} is held: {hold.cause}" for name, hold in found.holds.items()]
    late = [
        f"{each.pipeline}: {each.waiting:,} waiting and nobody works on them, for {duration(each.oldest_seconds)}"
        for each in found.pipelines
        if found.condition(each) is Condition.LATE
    ]
    if held:
        return Verdict.FAILED, " ".join(held)
    if late:
        return Verdict.FAILED, f"{', '.join(late)}; see the worker and `headgate arrivals list --state retry`."
    under_way = sum(each.under_way for each in found.pipelines)
    return Verdict.OK, f"{under_way:,} under way; nothing has waited for more than {LATE:.0f} s without a run"


def halted(found: Overview) -> Answer:
    """Whether partitions are halted, or topics held back."""
    if found.halted:
        told = ", ".join(f"{name}: {number}" for name, number in found.halted.items())
        return Verdict.FAILED, f"halted ({told}); `headgate topics` says why, and what to do."
    if found.held_back:
        return Verdict.WARNING, "; ".join(f"{name}: {why}" for name, why in found.held_back.items())
    return Verdict.OK, "none is halted"


def set_aside(found: Overview) -> Answer:
    """What was rejected or set aside since yesterday."""
    rejected = [
        (each.pipeline, each.rejected_since_yesterday) for each in found.pipelines if each.rejected_since_yesterday
    ]
    dead = [
        (each.pipeline, each.dead_letters_since_yesterday)
        for each in found.pipelines
        if each.dead_letters_since_yesterday
    ]
    told = []
    if rejected:
        told.append(f"rejected: {_numbers(rejected)}; see `headgate arrivals list --state rejected`.")
    if dead:
        told.append(f"dead letters: {_numbers(dead)}; see `headgate dead-letters list`.")
    return (Verdict.WARNING, " ".join(told)) if told else (Verdict.OK, "nothing was rejected or set aside")


def left_lying(app: App) -> list[tuple[Source, Answer]]:
    """The files of each watched folder that are not taken in, and why."""
    overdue, paused = app.settings.listener.scan_seconds + UNANSWERED, app.sources.paused()
    return [
        # Files of a paused source are not overdue: another check names the pause.
        (source, _left(source, math.inf if (source.pipeline, source.name) in paused else overdue))
        for source in sources_of(app.pipelines, app.settings.inbox)
    ]


def _left(source: Source, overdue: float) -> Answer:
    found = list(islice(untaken(source, overdue=overdue), MOST))
    told = [f"{path}: {sentence}" for path, _, sentence in found[:FEW]]
    if len(found) > FEW:
        told.append(f"And {len(found) - FEW} more; `headgate why FILE` explains one.")
    if found:
        verdict = Verdict.FAILED if any(why is Why.OVERDUE for _, why, _ in found) else Verdict.WARNING
        return verdict, f"{count(len(found), 'file is', 'files are')} not taken in. {' '.join(told)}"
    return Verdict.OK, "no file is left lying"


def _numbers(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts)


def _clock(record: ProcessRecord) -> str:
    return f"{record.started_at:%H:%M:%S}"
