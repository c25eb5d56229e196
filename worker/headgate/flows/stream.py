"""The stream of a run: claim after claim, waiting for the next arrival while that costs less than a new run."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic

import structlog
from polars.exceptions import PanicException

from headgate.app import App
from headgate.crashpoint import crashpoint
from headgate.errors import Fenced, HeadgateError, HomeUnavailable, LedgerUnavailable
from headgate.flows.course import Course
from headgate.flows.ending import put_back
from headgate.flows.held import Held
from headgate.flows.parse import portions_of
from headgate.flows.report import Page, Report
from headgate.flows.rhythm import Rhythm
from headgate.flows.stages import show
from headgate.flows.trouble import warn
from headgate.flows.waiting import Waiting
from headgate.flows.work import work
from headgate.flows.workbench import Workbench, cleared_after
from headgate.ledger.holding import Holding
from headgate.model import Claim
from headgate.operations.dead_letter_copies import send_copies
from headgate.pipeline import Pipeline
from headgate.sinks.postgres import PostgresSink

LEDGER_AGAIN = 0.25  # seconds between two tries of a database that is unavailable
LEDGER_WITHIN = 15.0  # seconds that the database may be unavailable between two claims before the run fails

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run is asked for; by default, everything that is ready."""

    only: int | None  # only this arrival
    limit: int | None  # at most this many arrivals
    dry_run: bool

    @property
    def by_hand(self) -> bool:
        """Whether a person asked for something in particular; such a run never waits for the next arrival."""
        return self.only is not None or self.limit is not None or self.dry_run


@dataclass(kw_only=True)
class Stream:
    """The work of one run.

    Args:
        app: the app.
        pipeline: the pipeline whose arrivals it claims.
        holder: the name that it claims under.
        asked: what the run is asked for.
        report: collects the results of its claims.
        page: shows the report in the UI.
        waiting: waits for the next arrival.
        rhythm: of the pipeline's arrivals.

    """

    app: App
    pipeline: Pipeline
    holder: str
    asked: Asked
    report: Report
    page: Page
    waiting: Waiting
    rhythm: Rhythm

    def __post_init__(self) -> None:
        self._sink = PostgresSink(self.pipeline)
        self._take = self.app.claims.peek if self.asked.dry_run else self.app.claims.claim
        self._left = self.asked.limit
        self._start: int | None = None  # if set, the run takes all arrivals of this start, and no others
        self._owes_copies = False
        self._idle_since = 0.0  # when the last claim ended, in seconds on the monotonic clock
        self._behind: dict[str, asyncio.Task[None]] = {}  # background tasks that the next claim does not wait for

    async def run(self, held: Holding) -> None:
        """Claim and work until nothing is left and nothing is expected soon, or until an error ends the run.

        Args:
            held: the run's session in the ledger.

        Raises:
            HomeUnavailable: the home cannot be used, and the run has not worked on anything.

        """
        self._held = held
        self._hold = await asyncio.to_thread(Held, self.app.holds, self.pipeline.name)
        while self._left is None or self._left > 0:
            claim = await self._claim()
            if claim is None:
                break
            if claim.arrivals:
                await self._work_on(claim)
                self._idle_since = monotonic()
                # All arrivals of a start stay with one run, unless its worker drains.
                over = self.waiting.over if self._start is None else self.waiting.drains
                if self.asked.only is not None or self.asked.dry_run or self.report.over or over:
                    break
            elif not await self._more():
                break

    async def end(self) -> None:
        """Finish the background tasks: settle bytes, publish copies, update the UI."""
        while self._behind:
            await asyncio.wait(set(self._behind.values()))
        if self._owes_copies:
            await asyncio.to_thread(_send_copies, self.app)

    async def abort(self) -> None:
        """Cancel the background tasks; the listener and the sweep finish their work."""
        doing = list(self._behind.values())
        for task in doing:
            task.cancel()
        await asyncio.gather(*doing, return_exceptions=True)

    async def _claim(self) -> Claim | None:
        """Claim what is ready, and wait while the database restarts; return None if the home became unavailable."""
        deadline = monotonic() + LEDGER_WITHIN
        while True:
            try:
                return await self._claim_once()
            except HomeUnavailable as error:
                if not self.report.claims:
                    raise
                log.warning(str(error), action="claim")  # the run has worked on something, so it does not fail
                return None
            except LedgerUnavailable as error:
                if monotonic() > deadline or self.waiting.over:
                    raise
                log.info("the database is waited for", action="claim", error=str(error))
                await asyncio.sleep(LEDGER_AGAIN)

    async def _claim_once(self) -> Claim:
        """Claim in a thread; if the run is interrupted meanwhile, give back what the thread still claims."""
        take = partial(
            self._take,
            self.pipeline,
            holder=self.holder,
            only=self.asked.only,
            limit=self._hold.most(self._left),
            start=self._start,
        )
        # Not a task: when a process is told to end, all tasks are cancelled, and the result would be lost.
        claiming = asyncio.get_running_loop().run_in_executor(None, copy_context().run, take)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # A thread cannot be interrupted. If the run left the ledger first, nobody would know that it is dead, and
            # its claim would last until its lease ends, with the attempt counted.
            while not claiming.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([claiming])
            if not self.asked.dry_run:
                with suppress(HeadgateError):
                    self.app.claims.release(claiming.result().arrivals)
            raise

    async def _more(self) -> bool:
        """Wait for the next arrival if it is likely to come soon; return whether there may be one."""
        idle = timedelta(seconds=self.app.settings.worker.wait_seconds)
        if self.asked.by_hand or self._start is not None or not self.report.claims or self._held.is_deaf:
            return False
        left = self.rhythm.patience(idle) - timedelta(seconds=monotonic() - self._idle_since)
        if left <= timedelta(0):
            return False
        self._do_behind("page", self.page.tell("Waiting for the next arrival."))
        return await self.waiting.for_next(left)

    async def _work_on(self, claim: Claim) -> None:
        if self.pipeline.start.parks:
            self._start = claim.start_id
        crashpoint("run.after-claim")
        idle = timedelta(seconds=self.app.settings.worker.wait_seconds)
        self.rhythm.add([each.arrived_at for each in claim.arrivals if each.arrived_at], idle)
        folder = self.app.settings.places.work / self.holder / str(self.report.claims)
        bench = Workbench(
            self.app,
            self.pipeline,
            claim,
            folder,
            self._sink,
            dry_run=self.asked.dry_run,
            shown=self._is_shown(claim),
        )
        bench.say("claimed", action="claim", arrivals=len(claim.arrivals), size=claim.size)
        with cleared_after(bench):
            await self._through_the_stages(bench)
            self.report.add(bench)  # a dry run reports records from the claim's files
            warn(bench)
        if not self.asked.dry_run:
            await asyncio.to_thread(self._hold.see, self.report.error, fenced=self.report.fenced)
            await self._settled()
            self._do_behind("settle", asyncio.to_thread(_settle, bench))
            if bench.dead:
                self._owes_copies = not self._do_behind("copies", asyncio.to_thread(_send_copies, self.app))
        if self._left is not None:
            self._left -= len(claim.arrivals)

    async def _through_the_stages(self, bench: Workbench) -> None:
        """Work on a claim, and make sure that each of its arrivals is accounted for."""
        course = Course()
        if bench.shown:
            self._do_behind("show", show(bench, course))
        try:
            await work(bench, course)
            if not bench.dry_run:
                await asyncio.to_thread(put_back, bench)
            self.report.error = next(iter(bench.unread.values()), None)
        except Fenced as error:
            log.warning(str(error), action="fence")
            self.report.fenced = True
        except (Exception, PanicException) as error:  # noqa: BLE001 - on any error, the arrivals get their next attempt, and the run fails
            # A panic of polars is no Exception: Prefect would take it for the end of the process.
            failed = error if isinstance(error, Exception) else RuntimeError(f"polars panicked: {error}")
            self.report.error = failed
            if not bench.dry_run:
                await asyncio.to_thread(put_back, bench, failed)
        except BaseException:
            # A person cancelled the run, or its worker is being stopped: this does not count as an attempt.
            if not bench.dry_run:
                with suppress(LedgerUnavailable):
                    self.app.claims.release(bench.claim.arrivals)
            raise

    def _is_shown(self, claim: Claim) -> bool:
        """Return whether a claim gets subflows: the first one does, and any later one that is large enough.

        A large claim gets none while the previous claim's are still shown. Claims without subflows only appear as rows
        on the run's page.
        """
        big = portions_of(claim.size, self.app.limits.at_once) > 1
        return not self.report.claims or (big and "show" not in self._behind)

    def _do_behind(self, what: str, doing: Coroutine[None, None, None]) -> bool:
        """Start a background task; return False, and start nothing, while the last one of the same name still runs."""
        if what in self._behind:
            doing.close()
            return False
        task = self._behind[what] = asyncio.create_task(doing)
        task.add_done_callback(lambda _: self._behind.pop(what, None))
        return True

    async def _settled(self) -> None:
        """Wait until the previous claim is settled, so that the backlog of bytes to settle cannot grow."""
        if task := self._behind.get("settle"):
            await asyncio.wait([task])


def _settle(bench: Workbench) -> None:
    """Settle the bytes of arrivals that ended; the listener's next scan settles those that cannot be settled now."""
    try:
        bench.app.settler.settle(list(bench.arrivals))
    except (HomeUnavailable, LedgerUnavailable) as error:
        log.warning("not settled yet", action="settle", error=str(error))


def _send_copies(app: App) -> None:
    with suppress(LedgerUnavailable):  # then the sweep sends them
        send_copies(app)
