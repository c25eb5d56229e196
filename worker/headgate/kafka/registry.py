"""The schema registry: the schema that a value was written with, by the id at the value's beginning."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

from headgate.errors import BadSettings
from headgate.records.binary_values import Schemas
from headgate.setting_groups import KafkaSettings


def open_schemas(settings: KafkaSettings) -> Schemas | None:
    """Return a function that asks the registry for a schema, or None if no registry is set. Connect nothing yet."""
    if settings.registry_url is None:
        return None
    if find_spec("confluent_kafka") is None or find_spec("httpx2") is None:
        return _not_installed

    @cache
    def client() -> Schemas:
        # Importing it takes half a second, and most processes never ask.
        from headgate.kafka.confluent_registry import registry_client  # noqa: PLC0415

        return registry_client(settings)

    def schemas(number: int) -> Sequence[str]:
        return client()(number)

    return schemas


def _not_installed(number: int) -> list[str]:
    raise BadSettings(
        f"HEADGATE_KAFKA_REGISTRY_URL: asking for schema {number} needs the registry's client; "
        "run pip install 'headgate[schema-registry]'."
    )
