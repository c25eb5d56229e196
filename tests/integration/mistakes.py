"""The mistakes that new users make: what they wrote, and what they are told. docs/errors.md is made of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field

HEAD = """import dataframely as dy
from headgate import Folder, Pipeline, Retry, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

"""
ORDERS = HEAD + 'orders = Pipeline(name="orders", sources=[Folder("orders")], schema=Order, sink=Table("orders"))\n'


@dataclass(frozen=True)
class Mistake:
    """One mistake: the command, what is wrong around it, and the group that it is listed in."""

    title: str
    command: str
    group: str
    env: Mapping[str, str] = field(default_factory=dict)
    orders: str = ORDERS  # the text of orders.py
    dotenv: str = ""
    code: int = 2


def _declared(title: str, orders: str) -> Mistake:
    return Mistake(title, "headgate listen", "Declarations", orders=orders)


def _pipeline(**changed: str) -> str:
    parts = {
        "name": '"orders"',
        "sources": '[Folder("orders")]',
        "schema": "Order",
        "sink": 'Table("orders")',
        **changed,
    }
    return HEAD + f"orders = Pipeline({', '.join(f'{name}={value}' for name, value in parts.items())})\n"


MISTAKES = (
    # settings
    Mistake("a variable is misspelt", "headgate status", "Settings", {"HEADGATE_DATABSE_URL": "postgresql://..."}),
    Mistake("a variable lacks its group", "headgate status", "Settings", {"HEADGATE_POOL": "big"}),
    Mistake("a variable in `.env` is misspelt", "headgate status", "Settings", dotenv="HEADGATE_INBX=/data\n"),
    Mistake("a group has a value", "headgate status", "Settings", {"HEADGATE_KAFKA": "broker:9092"}),
    Mistake("a level that does not exist", "headgate status", "Settings", {"HEADGATE_LOG_LEVEL": "LOUD"}),
    Mistake("a number that is a word", "headgate work", "Settings", {"HEADGATE_WORKER_LIMIT": "two"}),
    Mistake("a number that is too small", "headgate listen", "Settings", {"HEADGATE_LEDGER_LEASE_SECONDS": "0"}),
    Mistake("a port that does not exist", "headgate up", "Settings", {"HEADGATE_UP_PREFECT_PORT": "70000"}),
    # database
    Mistake("no database is known", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "{unset}"}),
    Mistake("the address is not a URL", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "orders"}),
    Mistake(
        "nobody answers there",
        "headgate status",
        "Database",
        {"HEADGATE_DATABASE_URL": "postgresql://u:s3cr3t@127.0.0.1:9/d"},
    ),
    Mistake("the password is wrong", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "{wrong password}"}),
    Mistake(
        "the password is wrong, for `listen`",
        "headgate listen",
        "Database",
        {"HEADGATE_DATABASE_URL": "{wrong password}"},
    ),
    Mistake(
        "the password is wrong, for `work`", "headgate work", "Database", {"HEADGATE_DATABASE_URL": "{wrong password}"}
    ),
    Mistake(
        "the database does not exist", "headgate listen", "Database", {"HEADGATE_DATABASE_URL": "{missing database}"}
    ),
    Mistake("the user does not exist", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "{missing user}"}),
    Mistake(
        "the user may not connect", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "{stranger, kept out}"}
    ),
    Mistake(
        "the user may not create the ledger",
        "headgate listen",
        "Database",
        {"HEADGATE_DATABASE_URL": "{stranger, fresh}"},
    ),
    Mistake("the user may not use the ledger", "headgate status", "Database", {"HEADGATE_DATABASE_URL": "{stranger}"}),
    # Prefect
    Mistake("no server is known", "headgate apply", "Prefect server", {"PREFECT_API_URL": "{unset}"}),
    Mistake(
        "no server answers there", "headgate apply", "Prefect server", {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    ),
    Mistake("the address lacks `/api`", "headgate apply", "Prefect server", {"PREFECT_API_URL": "{ui}"}),
    Mistake("the password is missing", "headgate apply", "Prefect server", {"PREFECT_API_URL": "{guarded}"}),
    Mistake(
        "the password is wrong",
        "headgate apply",
        "Prefect server",
        {"PREFECT_API_URL": "{guarded}", "PREFECT_API_AUTH_STRING": "admin:wrong"},
    ),
    Mistake(
        "the password is wrong, for `work`",
        "headgate work",
        "Prefect server",
        {"PREFECT_API_URL": "{guarded}", "PREFECT_API_AUTH_STRING": "admin:wrong"},
    ),
    Mistake(
        "the password is missing, for `listen`", "headgate listen", "Prefect server", {"PREFECT_API_URL": "{guarded}"}
    ),
    # declarations
    Mistake("the path names no object", "headgate listen", "Declarations", {"HEADGATE_PIPELINES": "orders"}),
    Mistake("the module does not exist", "headgate listen", "Declarations", {"HEADGATE_PIPELINES": "order:orders"}),
    Mistake("the name is misspelt", "headgate listen", "Declarations", {"HEADGATE_PIPELINES": "orders:order"}),
    _declared("a type is misspelt", ORDERS.replace("Int64", "Integer64")),
    _declared("an import is missing", "import pandaz\n" + ORDERS),
    _declared("the syntax is wrong", ORDERS.replace("class Order(dy.Schema):", "class Order(dy.Schema)")),
    _declared("it is not a pipeline", "orders = 3\n"),
    _declared("the tuple is empty", "orders = ()\n"),
    _declared("a name with capitals", _pipeline(name='"Orders"')),
    _declared("no sources", _pipeline(sources="[]")),
    _declared("a folder above the inbox", _pipeline(sources='[Folder("../orders")]')),
    _declared("patterns that are one text", _pipeline(sources='[Folder("orders", patterns="*.csv")]')),
    _declared("a table with capitals", _pipeline(sink='Table("Orders")')),
    _declared("upsert without a key", _pipeline(sink='Table("orders", mode="upsert")').replace("primary_key=True", "")),
    _declared("a schema that is an instance", _pipeline(schema="Order.columns()")),
    _declared("no attempts", _pipeline(retry="Retry(attempts=0)")),
    _declared("a column type that no file has", ORDERS.replace("dy.Int64(primary_key=True)", "dy.Duration()")),
    _declared("a column of Python objects", ORDERS.replace("dy.Int64(primary_key=True)", "dy.Object()")),
    _declared(
        "two pipelines on one folder",
        HEAD
        + 'def one(name):\n    return Pipeline(name=name, sources=[Folder("in")], schema=Order, sink=Table(name))\n\n'
        + 'orders = (one("orders"), one("returns"))\n',
    ),
    _declared("two pipelines of one name", ORDERS + "orders = (orders, orders)\n"),
    # commands
    Mistake("a command that does not exist", "headgate stauts", "Commands"),
    Mistake("an option that does not exist", "headgate arrivals list --limt 5", "Commands"),
    Mistake("a state that does not exist", "headgate arrivals list --state redy", "Commands"),
    Mistake("a pipeline that does not exist", "headgate arrivals list --pipeline order", "Commands"),
    Mistake("the same, of dead letters", "headgate dead-letters list --pipeline order", "Commands"),
    Mistake("the same, of rows", "headgate rows order", "Commands"),
    Mistake("the same, of topics", "headgate topics --pipeline order", "Commands"),
    Mistake("the same, of sources", "headgate sources --pipeline order", "Commands"),
    Mistake("an arrival that does not exist", "headgate arrivals show 404", "Commands"),
    Mistake("a dead letter that does not exist", "headgate dead-letters show 404", "Commands"),
    Mistake("a replay of everything", "headgate dead-letters replay", "Commands"),
    Mistake("a home that does not exist", "headgate homes give-up attic", "Commands"),
    Mistake("messages without a broker", "headgate send weather orders.py", "Commands"),
    # files
    Mistake("a file outside the inbox", "headgate why orders.py", "Files", code=1),
    Mistake("a file that no pattern takes", "headgate why inbox/orders/notes.docx", "Files", code=1),
    Mistake("a hidden file", "headgate why inbox/orders/.orders.csv", "Files", code=1),
    Mistake("a temporary file", "headgate why inbox/orders/orders.csv.part", "Files", code=1),
    Mistake("a file that never came", "headgate why inbox/orders/never.csv", "Files", code=1),
    Mistake("a file that a process writes to", "headgate why inbox/orders/open.csv", "Files", code=1),
    Mistake(
        "a file without its marker",
        "headgate why inbox/orders/whole.csv",
        "Files",
        orders=_pipeline(sources='[Folder("orders", ready=Marker(".done"))]').replace(
            "import Folder,", "import Folder, Marker,"
        ),
        code=1,
    ),
    Mistake("a file while nothing listens", "headgate why inbox/orders/good.csv", "Files", code=1),
)
