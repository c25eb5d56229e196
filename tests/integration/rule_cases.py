"""Cases of rules: a trigger, and what happens to it. Each is run by the real server and by the offline engine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Sent:
    """An event: its name, labels of its resource, related resources, how old it is in seconds."""

    name: str
    labels: Mapping[str, str]
    related: Sequence[Mapping[str, str]] = ()
    age: float = 0
    same: str = ""  # given: all of this in a case are one event, sent again


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of the automation: PATCH, PUT or DELETE."""

    method: str
    body: Mapping[str, Any]


Step = Sent | Changed
OFF, ON = Changed("PATCH", {"enabled": False}), Changed("PATCH", {"enabled": True})
GONE = Changed("DELETE", {})


@dataclass(frozen=True, slots=True)
class Case:
    """A case; `RUN` in names is replaced by what is this case's own."""

    name: str
    trigger: Mapping[str, Any]
    steps: tuple[Step, ...]
    enabled: bool = True


def e(
    name: str = "a", *, related: Sequence[Mapping[str, str]] = (), age: float = 0, same: str = "", **labels: str
) -> Sent:
    own = {label.replace("resource_id", "prefect.resource.id"): value for label, value in labels.items()}
    return Sent(f"RUN.{name}" if name else "RUN", own, related, age, same)


def t(*expect: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "event",
        "posture": "Reactive",
        "expect": [f"RUN.{each}" for each in expect],
        "match": {},
        "threshold": 1,
        "within": 0,
        **more,
    }


def r(role: str = "pipeline", identity: str = "1", **labels: str) -> dict[str, str]:
    return {"prefect.resource.id": identity, "prefect.resource.role": role, **labels}


def both(kind: str, *triggers: dict[str, Any], within: float | None = 600, **more: Any) -> dict[str, Any]:
    return {"type": kind, "within": within, "triggers": list(triggers), **more}


def put(trigger: Mapping[str, Any]) -> Changed:
    return Changed("PUT", {"trigger": trigger, "actions": [{"type": "do-nothing"}]})


def after(*names: str) -> list[str]:
    return [f"RUN.{each}" for each in names]


BY_RESOURCE = ["prefect.resource.id"]
# Longer than all steps take beside other work: a window that ends between two of them depends on the clock.
SILENT = {"posture": "Proactive", "for_each": BY_RESOURCE, "within": 25}

# The 41 that the engine's prototype was measured by.
MEASURED = (
    Case("name exact", t("a"), (e(),)),
    Case("name prefix only", t("a"), (e("ab"), e("a.b"))),
    Case("name wildcard", t("*"), (e(), e("a.b"), e(""), Sent("RUN.", {}))),
    Case("name wildcard in the middle", t("*.z"), (e("a.z"), e("a.y"))),
    Case("name ? wildcard", t("?"), (e(),)),
    Case("name [ab] class", t("[ab]"), (e(),)),
    Case("name negated", t(expect=["!RUN.a"]), (e("b"),)),
    Case("name case", t("A"), (e(),)),
    Case("two names", t("a", "b"), (e("a"), e("b"), e("c"))),
    Case("label equal", t("a", match={"l": "x"}), (e(l="x"), e(l="y"), e())),
    Case("label list", t("a", match={"l": ["x", "y*"]}), (e(l="x"), e(l="yy"), e(l="z"))),
    Case("label negated", t("a", match={"l": "!x"}), (e(l="x"), e(l="y"), e())),
    Case("label list of negations", t("a", match={"l": ["!x", "!y"]}), (e(l="x"), e(l="y"))),
    Case("label empty list", t("a", match={"l": []}), (e(l="x"),)),
    Case("preset of the UI left", t("a", match={"prefect.resource.id": ["prefect.flow-run.*"]}), (e(),)),
    Case(
        "related any",
        t("a", match_related={"prefect.resource.role": "pipeline", "p": "f*"}),
        (e(related=[r("x", p="f"), r(identity="2", p="fl")]), e(related=[r(p="w")]), e()),
    ),
    Case(
        "related labels on two resources",
        t("a", match_related={"p": "1", "q": "2"}),
        (e(related=[r("x", p="1"), r("x", "2", q="2")]),),
    ),
    Case(
        "related list is all",
        t("a", match_related=[{"p": "1"}, {"q": "2"}]),
        (e(related=[r("x", p="1"), r("x", "2", q="2")]),),
    ),
    Case(
        "related negated",
        t("a", match_related={"p": "!1"}),
        (e(related=[r("x", p="1"), r("x", "2", p="2")]), e(related=[r("x", p="1")])),
    ),
    Case("related does not see the resource", t("a", match_related={"l": "x"}), (e(l="x"),)),
    Case("3 within 600, 7 events", t("a", threshold=3, within=600), (e(),) * 7),
    Case("3 within 0, 7 events", t("a", threshold=3), (e(),) * 7),
    Case("threshold 0", t("a", threshold=0), (e(),) * 2),
    Case("2 for each l", t("a", threshold=2, within=600, for_each=["l"]), tuple(e(l=each) for each in "xyxyx")),
    Case("for each missing label", t("a", threshold=2, within=600, for_each=["nope"]), (e(),) * 2),
    Case(
        "for each related",
        t("a", threshold=2, within=600, for_each=["related:pipeline:p"]),
        tuple(e(related=[r(p=each)]) for each in "xyx"),
    ),
    Case("an hour old, within 0", t("a"), (e(age=3600),)),
    Case("an hour old after a new one, 2 within 60", t("a", threshold=2, within=60), (e(), e(age=3600))),
    Case("five minutes old, 2 within 60", t("a", threshold=2, within=60), (e(), e(age=300))),
    Case("after, in order", t("b", after=after("a"), within=600), (e("a"), e("b"))),
    Case("after, out of order", t("b", after=after("a"), within=600), (e("b"), e("a"))),
    Case(
        "after, another resource",
        t("b", after=after("a"), within=600),
        (e("a", resource_id="o1"), e("b", resource_id="o2")),
    ),
    Case("compound all", both("compound", t("a"), t("b"), require="all"), tuple(map(e, "aabba"))),
    Case("compound any", both("compound", t("a"), t("b"), require="any"), (e("a"), e("b"))),
    Case("compound 2 of 3", both("compound", t("a"), t("b"), t("c"), require=2), (e("a"), e("c"))),
    Case("compound, of yesterday", both("compound", t("a"), t("b"), require="all"), (e("a", age=90000), e("b"))),
    Case("sequence in order", both("sequence", t("a"), t("b")), (e("a"), e("b"))),
    Case("sequence out of order", both("sequence", t("a"), t("b")), (e("b"), e("a"))),
    Case("sequence b a b", both("sequence", t("a"), t("b")), tuple(map(e, "bab"))),
    Case("switched off", t("a"), (e(),), enabled=False),
    Case("same id twice", t("a"), (e(same="x"), e(same="x"))),
)

FURTHER = (
    Case("name with a wildcard in front", t(expect=["*UN.a"]), (e(), e("b"))),
    Case("name of two wildcards", t("*.x.*"), (e("a.x.b"), e("a.y.b"), e("x.x.x"))),
    Case("a dot is a dot", t("a.b"), (e("aXb"), e("a.b"))),
    Case("an exact and a wider name", t("a", "a*"), (e("a"), e("ab"))),
    Case("several labels are and", t("a", match={"l": "x", "m": "y"}), (e(l="x", m="y"), e(l="x"), e(m="y"))),
    Case("label ? and class", t("a", match={"l": ["?1", "[xy]2"]}), (e(l="a1"), e(l="x2"), e(l="z2"), e(l="11"))),
    Case("label case", t("a", match={"l": "X"}), (e(l="x"), e(l="X"))),
    Case("label negated glob", t("a", match={"l": "!x*"}), (e(l="xy"), e(l="y"))),
    Case("label of a value and a negation", t("a", match={"l": ["x", "!x1"]}), (e(l="x"), e(l="x1"), e(l="q"))),
    Case("label empty value", t("a", match={"l": ""}), (e(l=""), e(l="x"))),
    Case(
        "resource by prefix",
        t("a", match={"prefect.resource.id": "my.*"}),
        (e(resource_id="my.1"), e(resource_id="my")),
    ),
    Case(
        "resource negated",
        t("a", match={"prefect.resource.id": "!my.1"}),
        (e(resource_id="my.1"), e(resource_id="my.2")),
    ),
    Case(
        "resource one of two",
        t("a", match={"prefect.resource.id": ["q.1", "q.2"]}),
        (e(resource_id="q.2"), e(resource_id="q.3")),
    ),
    Case("related empty specification", t("a", match_related={}), (e(), e(related=[r()]))),
    Case(
        "related list of an empty one",
        t("a", match_related=[{}, {"p": "1"}]),
        (e(related=[r(p="1")]), e(related=[r()])),
    ),
    Case("related list, one is missing", t("a", match_related=[{"p": "1"}, {"q": "2"}]), (e(related=[r(p="1")]),)),
    Case(
        "related list by one resource", t("a", match_related=[{"p": "1"}, {"q": "2"}]), (e(related=[r(p="1", q="2")]),)
    ),
    Case(
        "related role negated",
        t("a", match_related={"prefect.resource.role": "!x"}),
        (e(related=[r("x")]), e(related=[r("y")])),
    ),
    Case(
        "related by id",
        t("a", match_related={"prefect.resource.id": "7"}),
        (e(related=[r(identity="7")]), e(related=[r()])),
    ),
    Case(
        "resource and related",
        t("a", match={"l": "x"}, match_related={"p": "1"}),
        (e(l="x", related=[r(p="1")]), e(l="x")),
    ),
    Case("threshold 1 within 600 fires once a window", t("a", within=600), (e(), e(), e())),
    Case("2 within 600, first of the next window", t("a", threshold=2, within=600), (e(),) * 5),
    Case(
        "2 for each of two labels",
        t("a", threshold=2, within=600, for_each=["l", "m"]),
        (e(l="x", m="1"), e(l="x", m="2"), e(l="x", m="1")),
    ),
    Case("for each within 0", t("a", threshold=2, for_each=["l"]), tuple(e(l=each) for each in "xyxyxx")),
    Case(
        "for each resource",
        t("a", threshold=2, within=600, for_each=BY_RESOURCE),
        (e(resource_id="1"), e(resource_id="2"), e(resource_id="1")),
    ),
    Case(
        "for each related, role is missing",
        t("a", threshold=2, within=600, for_each=["related:x:p"]),
        (e(related=[r(p="1")]), e()),
    ),
    Case(
        "for each related, first of the role",
        t("a", for_each=["related:pipeline:p"]),
        (e(related=[r(p="1"), r(identity="2", p="2")]),),
    ),
    Case(
        "after for each",
        t("b", after=after("a"), within=600, for_each=BY_RESOURCE),
        (e("a", resource_id="1"), e("b", resource_id="2"), e("b", resource_id="1")),
    ),
    Case("after, twice", t("b", after=after("a"), within=600), tuple(map(e, "abbab"))),
    Case("after, threshold 2", t("b", after=after("a"), within=600, threshold=2), tuple(map(e, "abb"))),
    Case("after and expect the same", t("a", after=after("a"), within=600), (e(), e(), e())),
    Case("after, an old one", t("b", after=after("a"), within=60), (e("a", age=3600), e("b"))),
    Case(
        "compound of counts",
        both("compound", t("a", threshold=2, within=600), t("b"), require="all"),
        tuple(map(e, "abaab")),
    ),
    Case(
        "compound of one event for both",
        both("compound", t("a"), t("a", match={"l": "x"}), require="all"),
        (e(), e(l="x"), e(l="x")),
    ),
    Case("compound without end", both("compound", t("a"), t("b"), require="all", within=None), (e("a"), e("b"))),
    Case("compound within 0", both("compound", t("a"), t("b"), require="all", within=0), tuple(map(e, "abab"))),
    Case("compound any within 0", both("compound", t("a"), t("b"), require="any", within=0), tuple(map(e, "ab"))),
    Case("compound require 1", both("compound", t("a"), t("b"), require=1), tuple(map(e, "ab"))),
    Case(
        "compound for each",
        both("compound", t("a", for_each=["l"]), t("b", for_each=["l"]), require="all"),
        (e("a", l="x"), e("b", l="y")),
    ),
    Case(
        "compound of a sequence",
        both("compound", both("sequence", t("a"), t("b")), t("c"), require="all"),
        tuple(map(e, "cbab")),
    ),
    Case("sequence of three", both("sequence", t("a"), t("b"), t("c")), tuple(map(e, "abcacb"))),
    Case("sequence of the same name twice", both("sequence", t("a"), t("a")), tuple(map(e, "aaa"))),
    Case("sequence within 0", both("sequence", t("a"), t("b"), within=0), tuple(map(e, "ab"))),
    Case("sequence without end", both("sequence", t("a"), t("b"), within=None), tuple(map(e, "ab"))),
    Case("switched off in between", t("a", threshold=3, within=600), (e(), e(), OFF, e(), ON, e())),
    Case("switched on in between", t("a"), (e(), ON, e()), enabled=False),
    Case(
        "saved again in between",
        t("a", threshold=3, within=600),
        (e(), e(), put(t("a", threshold=3, within=600)), e(), e()),
    ),
    Case("changed to another name in between", t("a"), (e("a"), e("b"), put(t("b")), e("a"), e("b"))),
    Case("changed to a higher threshold in between", t("a"), (e(), put(t("a", threshold=2)), e(), e())),
    Case(
        "compound saved again in between",
        both("compound", t("a"), t("b"), require="all"),
        (e("a"), put(both("compound", t("a"), t("b"), require="all")), e("b"), e("a")),
    ),
    Case("deleted in between", t("a"), (e(), GONE, e())),
    Case("silent after one", t("x", after=after("x"), **SILENT), (e("x", resource_id="1"), e("x", resource_id="2"))),
    Case("never heard of", t("x", after=after("x"), **SILENT), ()),
    Case(
        "silent until another",
        t("b", after=after("a"), **SILENT),
        (e("a", resource_id="1"), e("a", resource_id="2"), e("b", resource_id="1")),
    ),
    Case("fewer than two after one", t("b", after=after("a"), **SILENT | {"threshold": 2}), (e("a"), e("b"))),
)
CASES = (*MEASURED, *FURTHER)


def unique(run: str, number: int, value: Any) -> Any:
    """Put what is a case's own in the place of RUN."""
    return json.loads(json.dumps(value).replace("RUN", f"rules.{run}.{number}"))


def body(case: Case, run: str, number: int) -> dict[str, Any]:
    """The automation, as it is posted."""
    trigger = unique(run, number, case.trigger)
    return {
        "name": f"{run} {case.name}",
        "trigger": trigger,
        "enabled": case.enabled,
        "actions": [{"type": "do-nothing"}],
    }


def ids(case: Case) -> list[str]:
    """An id for each step; events that are the same event have one."""
    known: dict[str, str] = {}
    return [
        known.setdefault(step.same, str(uuid4())) if isinstance(step, Sent) and step.same else str(uuid4())
        for step in case.steps
    ]
