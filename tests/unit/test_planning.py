"""Ranges are cut without a gap, within their limits, and no sooner than they should."""

from dataclasses import replace
from itertools import pairwise

from headgate.listeners.topics.planning import GROWTH, Uncut, largest, plan
from headgate.pipeline import Topic
from hypothesis import given
from hypothesis import strategies as st

UNCUT = st.builds(
    lambda first, count, since, size: Uncut(first, first + count, since, size),
    st.integers(0, 2**62),
    st.integers(0, 5000),
    st.floats(0, 100),
    st.floats(0, 1e9),
)
PARTS = st.dictionaries(st.integers(0, 9), UNCUT, max_size=5)
TOPIC = st.builds(
    lambda messages, size, age: Topic("t", max_messages=messages, max_bytes=size, max_age=age),
    st.integers(1, 3000),
    st.integers(1, 10**9),
    st.floats(0, 50),
)


@given(parts=PARTS, topic=TOPIC, idle=st.booleans(), room=st.integers(-3, 50))
def test_ranges_follow_one_another_within_their_limits_and_the_room(
    *, parts: dict[int, Uncut], topic: Topic, idle: bool, room: int
) -> None:
    cut = plan(parts, topic, now=120, idle=idle, room=room)
    assert sum(map(len, cut.values())) <= max(0, room)
    for part, ends in cut.items():
        firsts = [parts[part].first, *ends[:-1]]
        assert all(0 < end - first <= topic.max_messages for first, end in zip(firsts, ends, strict=True))
        assert ends[-1] <= parts[part].end


@given(PARTS, TOPIC)
def test_while_nothing_waits_everything_is_cut_at_once(parts: dict[int, Uncut], topic: Topic) -> None:
    cut = plan(parts, topic, now=0, idle=True, room=10**9)
    assert {part: ends[-1] for part, ends in cut.items()} == {
        part: uncut.end for part, uncut in parts.items() if uncut.end > uncut.first
    }


@given(PARTS, TOPIC)
def test_while_runs_are_busy_only_what_is_full_or_old_enough_is_cut(parts: dict[int, Uncut], topic: Topic) -> None:
    now = 60.0
    cut = plan(parts, topic, now=now, idle=False, room=10**9)
    for part, uncut in parts.items():
        left = uncut.end - (cut[part][-1] if part in cut else uncut.first)
        if now - uncut.since >= topic.max_age:
            assert left == 0
        else:
            assert left < largest(topic, uncut.message_bytes)
            firsts = [uncut.first, *cut.get(part, [])]
            sizes = {end - first for first, end in zip(firsts, cut.get(part, []), strict=False)}
            assert sizes <= {largest(topic, uncut.message_bytes)}


@given(PARTS, TOPIC)
def test_behind_a_range_that_waits_for_a_run_only_what_is_full_is_cut(parts: dict[int, Uncut], topic: Topic) -> None:
    """Small ranges would cost more than they bring."""
    parts = {key: replace(part, since=0) for key, part in parts.items()}
    now = topic.max_age * (GROWTH - 1)
    topic = replace(topic, max_age=max(topic.max_age, 0.1))
    cut = plan(parts, topic, now=now, idle=False, waiting=parts.keys(), room=10**9)
    for part, uncut in parts.items():
        firsts = [uncut.first, *cut.get(part, [])]
        assert {end - first for first, end in pairwise(firsts)} <= {largest(topic, uncut.message_bytes)}
        assert uncut.end - firsts[-1] < largest(topic, uncut.message_bytes)


def test_a_range_that_waits_holds_back_its_own_partition_alone() -> None:
    parts = {each: Uncut(0, 5, since=0, message_bytes=1) for each in range(2)}
    assert plan(parts, Topic("t"), now=GROWTH - 1, idle=False, waiting={0}, room=9) == {1: [5]}


def test_behind_a_range_that_waits_for_a_run_messages_are_cut_in_the_end() -> None:
    parts = {0: Uncut(0, 5, since=0, message_bytes=1)}
    assert plan(parts, Topic("t"), now=GROWTH, idle=False, waiting={0}, room=9) == {0: [5]}


def test_a_backlog_takes_no_more_than_its_share_of_the_room() -> None:
    topic = Topic("t", max_messages=10)
    parts = {0: Uncut(0, 1000, since=1, message_bytes=1), 1: Uncut(0, 5, since=2, message_bytes=1)}
    assert plan(parts, topic, now=3, idle=True, room=3) == {0: [10, 20], 1: [5]}


def test_of_little_room_those_that_wait_longest_have_it() -> None:
    parts = {0: Uncut(0, 5, since=2, message_bytes=1), 1: Uncut(7, 9, since=1, message_bytes=1)}
    assert plan(parts, Topic("t"), now=3, idle=True, room=1) == {1: [9]}


def test_large_messages_make_short_ranges() -> None:
    topic = Topic("t", max_bytes=1000)
    assert plan({0: Uncut(0, 25, since=0, message_bytes=100)}, topic, now=0, idle=True, room=9) == {0: [10, 20, 25]}
    assert largest(topic, 5000) == 1
