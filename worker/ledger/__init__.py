"""The ledger: the durable list of arrivals and their states, in PostgreSQL.

Everything else may be killed at any moment and started again: what counts stands here. `Database` is the door;
`Arrivals`, `Claims`, `Cursors`, `Rings` and `DeadLetters` are the rooms.
"""

from worker.ledger.arrivals import Arrivals
from worker.ledger.claims import Claims
from worker.ledger.cursors import Cursors
from worker.ledger.database import Database
from worker.ledger.dead_letters import DeadLetters
from worker.ledger.rings import Rings

__all__ = ["Arrivals", "Claims", "Cursors", "Database", "DeadLetters", "Rings"]
