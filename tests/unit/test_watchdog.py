"""A call that does not return is noticed; one that does is not."""

import threading

import pytest
from headgate.listeners.topics import stall_guard as watchdog
from headgate.listeners.topics.stall_guard import Watchdog


@pytest.fixture
def bitten() -> list[str]:
    """What the watchdog bit."""
    return []


@pytest.fixture
def dog(bitten: list[str]) -> Watchdog:
    """One that waits for three seconds."""
    return Watchdog(patience=3, bite=bitten.append)


def test_a_call_that_does_not_return_is_bitten_once(dog: Watchdog, bitten: list[str]) -> None:
    with dog.over("polling"):
        for _ in range(3):
            dog.tick()
        assert bitten == []
        for _ in range(9):
            dog.tick()
    assert bitten == ["polling"]


def test_each_call_has_all_the_patience_and_between_calls_nothing_is_watched(dog: Watchdog, bitten: list[str]) -> None:
    for _ in range(5):
        with dog.over("polling"):
            for _ in range(3):
                dog.tick()
        for _ in range(9):
            dog.tick()
    assert bitten == []


def test_it_watches_from_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "TICK", 0.001)
    bitten = threading.Event()
    dog = Watchdog(patience=0.002, bite=lambda _: bitten.set())
    with dog.watching(), dog.over("polling"):
        assert bitten.wait(30)
