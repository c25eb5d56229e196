"""The schema registry: which schema a value was written with, by the id that stands before it."""

from collections.abc import Callable

import httpx

from worker.errors import KafkaUnavailable
from worker.settings import KafkaSettings

WITHIN = 10.0  # seconds


def open_schemas(settings: KafkaSettings) -> Callable[[int], str] | None:
    """Make what asks the registry for a schema's text; None if no registry is set.

    One request is all that reading needs of a registry, so no client of a registry is asked for: the one of Confluent
    wants half a dozen packages more.
    """
    if settings.registry_url is None:
        return None
    url = settings.registry_url.rstrip("/")
    user, _, password = (settings.registry_auth.get_secret_value() if settings.registry_auth else "").partition(":")

    def schema(number: int) -> str:
        try:
            answer = httpx.get(f"{url}/schemas/ids/{number}", auth=(user, password) if user else None, timeout=WITHIN)
            if answer.status_code == httpx.codes.NOT_FOUND:
                message = f"the registry knows no schema {number}"
                raise LookupError(message)
            answer.raise_for_status()
            return str(answer.json()["schema"])
        except httpx.HTTPError as error:
            raise KafkaUnavailable(f"The schema registry at {url} does not answer: {error}") from error

    return schema
