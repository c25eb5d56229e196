"""Notification blocks of the Prefect server: Slack, mail by an Apprise URL, webhooks and the like."""

from prefect.blocks import notifications  # noqa: F401 - registers the types of blocks
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from headgate.errors import NotFound, NotificationFailed


async def notify(name: str, *, subject: str, body: str) -> None:
    """Send something through a block, and know whether it went.

    An automation of Prefect's would not: what some blocks raise there ends in a file on the server's disk.

    Args:
        name: <type's slug>/<name>, such as slack-webhook/ops.
        subject: one line.
        body: plain text or Markdown; what is made of it is the receiver's affair.

    Raises:
        NotFound: there is no such block, or it cannot notify.
        NotificationFailed: it was not delivered; the text says why, without the block's secrets.

    """
    try:
        block: object = await Block.aload(name, validate=True)
    except ValueError as error:
        raise NotFound(
            f"There is no block {name!r} on the Prefect server; make it under Blocks, or name another: <type>/<name>."
        ) from error
    except Exception as error:
        raise NotificationFailed(f"Block {name} cannot be loaded: {type(error).__name__}.") from error
    if not isinstance(block, NotificationBlock):
        raise NotFound(f"Block {name!r} cannot notify; name one that can, such as a slack-webhook or custom-webhook.")
    try:
        with block.raise_on_failure():
            await block.notify(body, subject)
    except Exception as error:
        raise NotificationFailed(f"Block {name} could not deliver: {_told(error)}.") from error


def _told(error: Exception) -> str:
    """What went wrong, without the URL: it often is the secret."""
    response = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code"):
        return f"the receiver answered {response.status_code}"
    return type(error).__name__
