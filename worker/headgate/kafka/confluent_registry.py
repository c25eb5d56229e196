"""A schema registry that speaks Confluent's protocol; its client comes with the extra `schema-registry`."""

from urllib.parse import urlsplit

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from headgate.errors import BadSettings, KafkaUnavailable
from headgate.records.binary_values import Schemas
from headgate.setting_groups import KafkaSettings

WITHIN = 10  # seconds, for one answer
NOT_FOUND = 404


def registry_client(settings: KafkaSettings) -> Schemas:
    """Return a function that asks the registry for each schema once: its text, after the texts of schemas it refers to.

    Raises:
        BadSettings: the address or the credentials are malformed.

    """
    url = settings.registry_url or ""
    where = (
        urlsplit(url)._replace(netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()
    )  # the address may hold a password
    options: dict[str, object] = {"url": url, "timeout": WITHIN, "max.retries": 2, "retries.wait.ms": 200}
    if settings.registry_auth is not None:
        options["basic.auth.user.info"] = settings.registry_auth.get_secret_value()
    if settings.ca_file is not None:
        options["ssl.ca.location"] = str(settings.ca_file)
    try:
        client = SchemaRegistryClient(options)
    except (ValueError, TypeError) as error:  # the error's text may hold the password
        raise BadSettings(
            "HEADGATE_KAFKA_REGISTRY_URL is to be http://host:port or https://host:port, and "
            "HEADGATE_KAFKA_REGISTRY_AUTH user:password."
        ) from (None if settings.registry_auth else error)

    def schemas(number: int) -> list[str]:
        try:
            return _with_those_before(client, client.get_schema(number))
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND:
                message = f"the registry knows no schema {number}"
                raise LookupError(message) from error
            raise KafkaUnavailable(f"The schema registry at {where} refuses schema {number}: {error}") from error
        except httpx2.HTTPError as error:
            raise KafkaUnavailable(f"The schema registry at {where} does not answer: {error}") from error

    return schemas


def _with_those_before(client: SchemaRegistryClient, schema: Schema) -> list[str]:
    texts: list[str] = []
    for reference in schema.references or ():
        referred = client.get_version(reference.subject or "", reference.version or "latest")
        texts += [text for text in _with_those_before(client, referred.schema) if text not in texts]
    return [*texts, schema.schema_str or ""]
