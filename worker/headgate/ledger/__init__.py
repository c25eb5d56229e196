"""The ledger: the durable list of arrivals and their states, in PostgreSQL.

Everything else may be killed at any moment and started again, because all durable state is here. `Database` holds the
connections; `Arrivals`, `Claims`, `Holders`, `Cursors`, `Rings`, `Starts`, `Homes`, `Holds`, `Processes`,
`DeadLetters`, `Sources`, `Requests` and `Alerts` each cover one subject.
"""

from headgate.ledger.alerts import Alerts
from headgate.ledger.arrivals import Arrivals
from headgate.ledger.claims import Claims
from headgate.ledger.cursors import Cursors
from headgate.ledger.database import Database
from headgate.ledger.dead_letters import DeadLetters
from headgate.ledger.holders import Holders
from headgate.ledger.holds import Holds
from headgate.ledger.homes import Homes
from headgate.ledger.processes import Processes
from headgate.ledger.requests import Requests
from headgate.ledger.rings import Rings
from headgate.ledger.sources import Sources
from headgate.ledger.starts import Starts

__all__ = [
    "Alerts",
    "Arrivals",
    "Claims",
    "Cursors",
    "Database",
    "DeadLetters",
    "Holders",
    "Holds",
    "Homes",
    "Processes",
    "Requests",
    "Rings",
    "Sources",
    "Starts",
]
