"""Notification blocks of the Prefect server: Slack, mail by an Apprise URL, webhooks and others."""

from prefect.blocks import notifications  # noqa: F401 - registers the types of blocks
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from headgate.errors import NotFound, NotificationFailed


async def notify(name: str, *, subject: str, body: str) -> None:
    """Send a message through a block, and raise if it is not delivered.

    A Prefect automation would not tell us: what some blocks raise there only ends up in a file on the server's disk.

    Args:
        name: <type's slug>/<name>, such as slack-webhook/ops.
        subject: one line.
        body: plain text or Markdown; how it is rendered is up to the receiver.

    Raises:
        NotFound: the block does not exist, or cannot notify.
        NotificationFailed: the message was not delivered; the text says why, without the block's secrets.

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
    """Return what went wrong, without the URL, which is often the secret."""
    response = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code"):
        return f"the receiver answered {response.status_code}"
    return type(error).__name__
