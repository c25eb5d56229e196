"""Keep the server as the code says, unattended: a rule that cannot work does not keep pipelines from running."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from headgate.errors import BadRule
from headgate.pipeline import Pipeline
from headgate.reconcile.apply import Outcome, apply
from headgate.reconcile.declared import Declared, Rules, load_rules
from headgate.settings import Settings

log = structlog.get_logger()


async def keep(settings: Settings, pipelines: Sequence[Pipeline], homes: Sequence[str]) -> Outcome:
    """Apply all; where the rules cannot work, log why, and apply what belongs to the pipelines alone.

    A block that somebody deleted, or a server that lost all it had, would else stop everything that arrives.

    Args:
        settings: name the work pool, the server and the rules.
        pipelines: each gets a deployment and a doorbell in each home.
        homes: their names.

    Raises:
        PrefectUnavailable: the server does not answer.
        PrefectRefused: the server will not take something.

    """
    try:
        return await apply(settings, Declared.of(settings, pipelines, load_rules(settings), homes))
    except BadRule as error:
        log.error(str(error), action="apply")  # noqa: TRY400 - the text says it all
        # What the rules have made is not in what is declared now, and is no leftover all the same.
        outcome = await apply(settings, Declared.of(settings, pipelines, Rules(), homes))
        return replace(outcome, left=(), refused=str(error))
