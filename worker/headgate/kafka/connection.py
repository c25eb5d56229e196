"""How Kafka is reached: the settings as the options of kafka-python and of librdkafka, checked.

A combination that makes no sense is refused here, with the names of the variables: the clients would connect without
what was forgotten, or report it minutes later in their own words.
"""

import re

from pydantic import SecretStr

from headgate.errors import BadSettings
from headgate.setting_groups import KafkaSettings

CLIENT_ID = "headgate"
REQUEST_WITHIN = 30_000  # ms
CONNECT_WITHIN = 10_000  # ms until a client gives up at its start

ADDRESS = re.compile(r"\[?[^\s,/@]+\]?:\d{1,5}")
FILES = ("ca_file", "certificate_file", "key_file")
PASSWORD = ("username", "password")
OAUTH = ("token_url", "client_id", "client_secret")


def client_options(settings: KafkaSettings) -> dict[str, object]:
    """Return the options for every client of kafka-python: consumer, producer and admin client.

    Raises:
        BadSettings: the settings make no sense together; the text names the variables, and holds no secret.

    """
    check(settings)
    options: dict[str, object] = {
        "bootstrap_servers": _addresses(settings),
        "client_id": CLIENT_ID,
        "request_timeout_ms": REQUEST_WITHIN,
        "bootstrap_timeout_ms": CONNECT_WITHIN,
        "security_protocol": settings.security,
        "ssl_cafile": _text(settings, "ca_file"),
        "ssl_certfile": _text(settings, "certificate_file"),
        "ssl_keyfile": _text(settings, "key_file"),
        "ssl_password": _text(settings, "key_password"),
        "sasl_mechanism": settings.sasl_mechanism,
    }
    if settings.sasl_mechanism == "OAUTHBEARER":
        url, client, secret = (_text(settings, name) or "" for name in OAUTH)
        from headgate.kafka.token import TokenProvider  # noqa: PLC0415 - it imports kafka-python, which takes a while

        options["sasl_oauth_token_provider"] = TokenProvider(url=url, client_id=client, client_secret=secret)
    elif settings.sasl_mechanism is not None:
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = _text(settings, "password")
    return options


def librdkafka_options(settings: KafkaSettings) -> dict[str, str]:
    """Return the options for every client of confluent-kafka.

    Raises:
        BadSettings: as `client_options`.

    """
    check(settings)
    options = {
        "bootstrap.servers": ",".join(_addresses(settings)),
        "client.id": CLIENT_ID,
        "security.protocol": settings.security,
        "ssl.ca.location": _text(settings, "ca_file"),
        "ssl.certificate.location": _text(settings, "certificate_file"),
        "ssl.key.location": _text(settings, "key_file"),
        "ssl.key.password": _text(settings, "key_password"),
        "sasl.mechanism": settings.sasl_mechanism,
    }
    if settings.sasl_mechanism == "OAUTHBEARER":
        options |= {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": settings.token_url,
            "sasl.oauthbearer.client.id": settings.client_id,
            "sasl.oauthbearer.client.secret": _text(settings, "client_secret"),
        }
    elif settings.sasl_mechanism is not None:
        options |= {"sasl.username": settings.username, "sasl.password": _text(settings, "password")}
    return {name: value for name, value in options.items() if value is not None}


def check(settings: KafkaSettings) -> None:
    """Make sure that the settings make sense together, and that the files they name exist.

    Raises:
        BadSettings: they do not; the text names the variables, and holds no secret.

    """
    _addresses(settings)
    _check_tls(settings)
    _check_sasl(settings)


def _addresses(settings: KafkaSettings) -> list[str]:
    if settings.bootstrap is None:
        raise BadSettings(
            "No Kafka broker: set HEADGATE_KAFKA_BOOTSTRAP to host:port, or start `headgate up --kafka` in this folder."
        )
    addresses = [part.strip() for part in settings.bootstrap.split(",")]
    for address in addresses:
        if not ADDRESS.fullmatch(address):
            raise BadSettings(f"HEADGATE_KAFKA_BOOTSTRAP={settings.bootstrap!r}: write host:port,host:port.")
    return addresses


def _check_tls(settings: KafkaSettings) -> None:
    if settings.security.endswith("SSL"):
        for name in FILES:
            path = getattr(settings, name)
            if path is not None and not path.is_file():
                raise BadSettings(f"{_variable(name)}={path}: there is no such file.")
        _require_all(settings, ("certificate_file", "key_file"), "a certificate and its key go together")
    else:
        _refuse(settings, (*FILES, "key_password"), "is for TLS: set HEADGATE_KAFKA_SECURITY to SSL or SASL_SSL")


def _check_sasl(settings: KafkaSettings) -> None:
    mechanism = settings.sasl_mechanism
    if not settings.security.startswith("SASL"):
        meant = "is for SASL: set HEADGATE_KAFKA_SECURITY to SASL_SSL or SASL_PLAINTEXT"
        _refuse(settings, ("sasl_mechanism", *PASSWORD, *OAUTH), meant)
        return
    if mechanism is None:
        raise BadSettings(
            f"HEADGATE_KAFKA_SECURITY={settings.security} needs HEADGATE_KAFKA_SASL_MECHANISM: "
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER."
        )
    wanted, others = (OAUTH, PASSWORD) if mechanism == "OAUTHBEARER" else (PASSWORD, OAUTH)
    for name in wanted:
        if not _text(settings, name):
            raise BadSettings(f"HEADGATE_KAFKA_SASL_MECHANISM={mechanism} needs {_variable(name)}.")
    _refuse(settings, others, f"is not for HEADGATE_KAFKA_SASL_MECHANISM={mechanism}: take it away, or set another")


def _require_all(settings: KafkaSettings, names: tuple[str, ...], why: str) -> None:
    missing = [_variable(name) for name in names if getattr(settings, name) is None]
    if 0 < len(missing) < len(names):
        raise BadSettings(f"{' and '.join(missing)} is missing: {why}.")


def _refuse(settings: KafkaSettings, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if getattr(settings, name) is not None:
            raise BadSettings(f"{_variable(name)} {why}.")


def _variable(name: str) -> str:
    return f"HEADGATE_KAFKA_{name.upper()}"


def _text(settings: KafkaSettings, name: str) -> str | None:
    """Return the value of a setting in clear text, secrets too: for the clients only."""
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return None if value is None else str(value)
