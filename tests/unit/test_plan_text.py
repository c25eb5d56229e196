"""What `headgate automations plan` prints: every line fits, whatever is planned."""

from headgate.cli.plan_text import WIDTH, lines_of
from headgate.reconcile.apply import Outcome
from headgate.reconcile.change import Change, Difference
from headgate.reconcile.diff import differences
from hypothesis import given
from hypothesis import strategies as st

LONG = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
DIFFERENCES = st.builds(Difference, field=LONG, server=LONG, code=LONG, note=LONG)
CHANGES = st.builds(
    Change,
    kind=st.sampled_from(["automation", "concurrency limit"]),
    name=LONG,
    action=st.sampled_from(["created", "updated", "unchanged", "removed"]),
    differences=st.lists(DIFFERENCES, max_size=2).map(tuple),
    notes=st.lists(LONG, max_size=1).map(tuple),
)


@given(
    st.builds(
        Outcome,
        changes=st.lists(CHANGES, max_size=4).map(tuple),
        left=st.lists(CHANGES, max_size=2).map(tuple),
        others=st.lists(LONG, max_size=30).map(tuple),
        may_be_lost=st.one_of(st.none(), LONG),
    )
)
def test_no_line_is_longer_than_a_terminal_is_wide(outcome: Outcome) -> None:
    assert all(len(line) <= WIDTH for line in lines_of(outcome))


def test_true_is_not_one_however_deep_it_is() -> None:
    assert differences({"a": [1, {"b": True}]}, {"a": [1, {"b": 1}]}) == (
        Difference("a", '[1, {"b": true}]', '[1, {"b": 1}]'),
    )
    assert differences({"a": [{"b": 0}]}, {"a": [{"b": False}]}) == (Difference("a[0].b", "0", "false"),)
    assert differences({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2}]}) == ()


def test_it_says_what_differs_and_who_is_known_to_do_so() -> None:
    differs = (
        Difference("trigger.threshold", "5", "1"),
        Difference("actions[0].schedule_after", "0.0", "60.0", "Prefect's V2 editor does this by saving alone."),
        Difference("description", "x" * 60, "y" * 60),
    )
    outcome = Outcome(
        changes=(
            Change("work pool", "headgate", "unchanged"),
            Change("automation", "late", "updated", differs),
            Change("automation", "new", "created"),
            Change("automation", "off", "unchanged", notes=("It is switched off on the server.",)),
        ),
        left=(Change("deployment", "ingest/old", "removed", notes=("It is not in the code any more.",)),),
        others=("mine", "yours"),
    )
    assert list(lines_of(outcome)) == [
        "~ automation  late",
        "    trigger.threshold: 5 -> 1",
        "    actions[0].schedule_after: 0.0 -> 60.0",
        "      Prefect's V2 editor does this by saving alone.",
        "    description:",
        f"      server {'x' * 60}",
        f"      code   {'y' * 60}",
        "+ automation  new",
        "  automation  off",
        "    It is switched off on the server.",
        "? deployment  ingest/old",
        "    It is not in the code any more.",
        "1 to create, 1 to change, 2 as the code says.",
        "1 marked ? not in the code any more: `headgate apply --prune` removes them.",
        "Made by people, and left alone: mine, yours.",
    ]
