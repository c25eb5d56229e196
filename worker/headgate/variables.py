"""Variables that no setting reads, and what a person may have meant instead."""

import re
from collections.abc import Mapping

from headgate.words import did_you_mean

# Kubernetes sets these in each container of a namespace that has a service whose name begins with "headgate".
OF_KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")


def unknown(given: Mapping[str, str | None], known: set[str], prefix: str) -> list[str]:
    """Return a sentence for each variable that no setting reads, with the variable that was probably meant.

    Args:
        given: the variables that are set.
        known: the names that are read.
        prefix: only names that begin with this are checked.

    """
    strange = {name.upper(): value or "" for name, value in given.items() if name.upper().startswith(prefix)}
    return [
        _complaint(name, known, prefix)
        for name, value in sorted(strange.items())
        if name not in known and not _is_of_kubernetes(name, value)
    ]


def _is_of_kubernetes(name: str, value: str) -> bool:
    return bool(OF_KUBERNETES.search(name)) or (name.endswith("_PORT") and "://" in value)


def _complaint(name: str, known: set[str], prefix: str) -> str:
    rest = name.removeprefix(prefix)
    # The group may be missing: HEADGATE_POOL means HEADGATE_WORKER_POOL.
    grouped = sorted(each for each in known if each.endswith(f"_{rest}")) if rest else []
    if len(grouped) == 1:
        return f"{name}: unknown; did you mean {grouped[0]}?"
    meant = did_you_mean(rest, {each.removeprefix(prefix) for each in known}, prefix)
    return f"{name}: unknown{meant or '; docs/settings.md lists the settings.'}"
