"""`make soak-controls`: the soak with guards switched off, which it has to find out, and with all but one of them on.

Two guards stand behind some promises. With one of them off the promise may still be kept; only without both it falls.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from soak import Options, Soak, make_folder
from soak_verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One soak, and what it has to come to."""

    without: tuple[str, ...]
    only: tuple[str, ...]  # faults
    expected: str
    found: Callable[[Verdict], bool]
    rival: bool = False
    slow: float = 0.0
    pause: float = 5.0


def _kept(verdict: Verdict) -> bool:
    return verdict.good


def _doubled(verdict: Verdict) -> bool:
    return verdict.doubled > 0


def _once(verdict: Verdict) -> bool:
    return not (verdict.lost or verdict.doubled or verdict.altered)


def _stuck(verdict: Verdict) -> bool:
    return verdict.stuck > 0 or verdict.lost > 0


STOPS = ("stop run",)
# Each guard that has a second one behind it is also switched off alone: then nothing may be lost or doubled.
RIVAL = ("none",)
CONTROLS = {
    "epoch+key+letters": Control(
        without=("epoch", "key", "letters"), only=STOPS, expected="doubled", found=_doubled, pause=4, slow=0.7
    ),
    "key+letters": Control(without=("key", "letters"), only=STOPS, expected="kept", found=_kept, pause=4, slow=0.7),
    "group+cursor+identity": Control(
        without=("cursor", "identity"), only=RIVAL, rival=True, expected="doubled", found=_doubled
    ),
    "group+cursor": Control(without=("cursor",), only=RIVAL, rival=True, expected="none doubled", found=_once),
    "group": Control(without=(), only=RIVAL, rival=True, expected="kept", found=_kept),
    "scan": Control(without=("scan",), only=("kill listener",), expected="stuck", found=_stuck),
    "ladder": Control(
        without=("ladder",), only=("delete automations", "kill Prefect server"), expected="stuck", found=_stuck
    ),
}


def run(control: Control, seconds: float, seed: int, rate: float) -> tuple[Soak, bool]:
    """Run one; whether it came to what it has to."""
    options = Options(
        folder=make_folder(),
        seconds=seconds,
        seed=seed,
        rate=rate,
        pause=control.pause,
        only=control.only,
        within=90.0 if control.expected == "kept" else 30.0,
        without=control.without,
        rival=control.rival,
        slow=control.slow,
    )
    soak = Soak(options)
    as_expected = control.found(soak.run())
    if as_expected:
        soak.system.forget()
    return soak, as_expected


def main() -> int:
    """Run the controls; 1 if one of them did not come to what it has to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", action="append", choices=list(CONTROLS), help="this one alone; may be repeated")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # the system is stopped first
    table = Table("switched off", "faults", "expected", title="Negative controls", title_justify="left")
    for column in ("lost", "doubled", "altered", "stuck", "broken"):
        table.add_column(column, justify="right")
    table.add_column("as expected")
    figures: dict[str, float] = {}
    wrong = 0
    for name in given.control or CONTROLS:
        control = CONTROLS[name]
        Console().rule(name)
        soak, as_expected = run(control, given.seconds, given.seed, given.rate)
        verdict = soak.verdict
        wrong += not as_expected
        counts = {what: int(getattr(verdict, what)) for what in ("lost", "doubled", "altered", "stuck", "broken")}
        figures |= {f"{name.replace('+', '_')}_{what}": count for what, count in counts.items()}
        faults = f"{soak.figures['faults']:g}: {', '.join(control.only)}{' a rival listener' * control.rival}"
        said = "yes" if as_expected else f"no: {soak.options.folder}"
        table.add_row(name, faults, control.expected, *(f"{count:,}" for count in counts.values()), said)
        Console().print(f"claims taken over: {soak.figures['claims_taken_over']:g}")
        Console().print("\n".join(verdict.examples[:10]), markup=False)
    Console(width=160).print(table)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
