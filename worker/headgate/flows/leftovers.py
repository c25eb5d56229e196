"""What dead runs and replays leave behind: rings that count as open, and folders."""

import shutil
import time
from datetime import timedelta

from headgate.app import App
from headgate.errors import HomeUnavailable
from headgate.operations.replay import PLACE

# A replay uses its folder only for a moment; one that is unchanged for this long is abandoned.
LEFT_AFTER = timedelta(days=1)


def clear(app: App) -> int:
    """Close the rings of dead runs, remove the folders of dead runs and replays, and return how many folders went.

    The folder of a run that the ledger does not know, perhaps of another ledger's, is kept for a day.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    places = app.settings.places
    works = {path.name: path for path in places.work.glob("*")}  # first: the ledger knows a run before it has a folder
    app.rings.close_dead()
    is_over = app.rings.over(list(works))
    replays = {f"{path.parent.parent.name}/{PLACE}/{path.name}": path for path in places.spool.glob(f"*/{PLACE}/*")}
    try:
        known = app.arrivals.spooled(list(replays))
    except HomeUnavailable:
        known = set(replays)  # without the home, their owners are unknown: keep them all
    nobodys = [path for holder, path in works.items() if holder not in is_over]
    nobodys += [path for place, path in replays.items() if place not in known]
    oldest = time.time() - LEFT_AFTER.total_seconds()
    left = [works[holder] for holder, over in is_over.items() if over]
    left += [path for path in nobodys if path.stat().st_mtime < oldest]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)
