"""What the address of our database says is carried over to the Prefect server's, or refused."""

import pytest
from headgate.errors import BadSettings
from headgate.processes.prefect_database import carried
from sqlalchemy.engine import make_url


@pytest.mark.parametrize(
    ("ours", "prefects"),
    [
        ("postgresql://me:pw@db.example:5433/orders", "postgresql://me:pw@db.example:5433/prefect"),
        ("postgres://me@db.example/orders", "postgresql://me@db.example/prefect"),
        ("postgresql://me:p%40%2Fw@[::1]:5433/orders", "postgresql://me:p%40%2Fw@[::1]:5433/prefect"),
        (
            "postgresql://me@db.example/orders?sslmode=require&connect_timeout=3&target_session_attrs=any",
            "postgresql://me@db.example/prefect?ssl=require",
        ),
        (
            "postgresql:///orders?host=/run/postgresql&port=5433",
            "postgresql:///prefect?host=%2Frun%2Fpostgresql&port=5433",
        ),
        ("host=db.example user=me dbname=orders", "postgresql://me@db.example/prefect"),
    ],
)
def test_the_same_server_is_named_in_prefects_way(ours: str, prefects: str) -> None:
    assert carried(ours) == prefects
    assert make_url(prefects).database == "prefect"


@pytest.mark.parametrize(
    ("ours", "what"),
    [
        ("postgresql://me@one,two/orders", "several hosts"),
        ("postgresql://me@db/orders?sslmode=verify-full", "sslmode=verify-full"),
        ("postgresql://me@db/orders?sslmode=require&sslrootcert=/ca.pem", "sslrootcert"),
        ("postgresql://me@db/orders?passfile=/here", "passfile"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_with_the_way_out(ours: str, what: str) -> None:
    with pytest.raises(BadSettings, match=f"has {what}, which .* PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        carried(ours)
