"""Tokens for OAUTHBEARER, as kafka-python asks for them: client credentials against a URL (RFC 6749, 4.4)."""

import threading
import time

import httpx
from kafka.net.sasl.oauth import AbstractTokenProvider

from headgate.errors import KafkaUnavailable

SPARE = 30.0  # seconds before its expiry that a token is renewed: it must not expire on its way to the broker
LASTS = 300.0  # seconds that a token is assumed to last if the token server does not say


class TokenProvider:
    """A provider of valid tokens; librdkafka has one built in.

    Args:
        url: the token endpoint.
        client_id: the client's id.
        client_secret: the client's secret; never shown.

    """

    def __init__(self, *, url: str, client_id: str, client_secret: str) -> None:
        self._url = url
        self._auth = httpx.BasicAuth(client_id, client_secret)
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def token(self) -> str:
        """Return a token: the last one for as long as it is valid.

        Raises:
            KafkaUnavailable: no token was issued; the text says where, and why, and holds no secret.

        """
        with self._lock:
            if time.monotonic() > self._until:
                self._token, lasts = self._ask()
                self._until = time.monotonic() + max(lasts - SPARE, lasts / 2)
            return self._token

    def extensions(self) -> dict[str, str]:
        """Return what goes to the broker besides the token: nothing."""
        return {}

    def _ask(self) -> tuple[str, float]:
        try:
            answer = httpx.post(self._url, data={"grant_type": "client_credentials"}, auth=self._auth, timeout=10)
            answer.raise_for_status()
            given = answer.json()
            return str(given["access_token"]), float(given.get("expires_in", LASTS))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            why = f"{error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else type(error).__name__
            message = f"HEADGATE_KAFKA_TOKEN_URL={self._url} gives no token ({why}): see to client id and secret there."
            raise KafkaUnavailable(message) from error


AbstractTokenProvider.register(TokenProvider)  # kafka-python accepts nothing else, and has no types to inherit from
