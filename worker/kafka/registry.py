"""The schema registry: which schema a value was written with, by the id that stands before it."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from worker.errors import BadSettings
from worker.records.binary_values import Schemas
from worker.settings import KafkaSettings


def open_schemas(settings: KafkaSettings) -> Schemas | None:
    """Make what asks the registry for a schema; None if no registry is set. Nothing is connected yet."""
    if settings.registry_url is None:
        return None
    if find_spec("confluent_kafka") is None or find_spec("httpx2") is None:
        return _not_installed

    @cache
    def client() -> Schemas:
        # Importing it takes half a second, and most processes never ask.
        from worker.kafka.confluent_registry import registry_client  # noqa: PLC0415

        return registry_client(settings)

    def schemas(number: int) -> Sequence[str]:
        return client()(number)

    return schemas


def _not_installed(number: int) -> list[str]:
    raise BadSettings(
        f"HEADGATE_KAFKA_REGISTRY_URL: asking for schema {number} needs the registry's client; "
        "run pip install 'headgate[schema-registry]'."
    )
