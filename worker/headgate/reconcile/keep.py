"""Keep the server as the code says, unattended: a rule that cannot work does not stop the pipelines."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from headgate.errors import BadRule, PrefectRefused
from headgate.pipeline import Pipeline
from headgate.reconcile.apply import Outcome, apply
from headgate.reconcile.declared import Declared, Rules, load_rules
from headgate.settings import Settings

log = structlog.get_logger()


async def keep(settings: Settings, pipelines: Sequence[Pipeline], homes: Sequence[str]) -> Outcome:
    """Apply everything; if the rules cannot work, log why, and apply only what belongs to the pipelines.

    Otherwise a deleted block, or a server that lost its data, would stop all ingestion.

    Args:
        settings: name the work pool, the server and the rules.
        pipelines: each gets a deployment and a doorbell in each home.
        homes: their names.

    Raises:
        PrefectUnavailable: the server does not answer.
        PrefectRefused: the server refuses what belongs to the pipelines.

    """
    try:
        return await apply(settings, Declared.of(settings, pipelines, load_rules(settings), homes))
    except (BadRule, PrefectRefused) as error:
        log.error(str(error), action="apply")  # noqa: TRY400 - the text says it all
        # What the rules created is not declared here, but it is not a leftover either.
        outcome = await apply(settings, Declared.of(settings, pipelines, Rules(), homes))
        return replace(outcome, left=(), refused=str(error))
