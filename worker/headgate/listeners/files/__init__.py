"""Folders watched, files taken in exactly once.

The way of a file: `watch` and `scan` say where to look, `readiness` says when it is complete, `spool` takes it out of
the inbox by one atomic rename, `intake` opens its arrival in the ledger, and `settling` brings its bytes to rest.
Between the rename and the ledger's commit the place in the spool alone tells pipeline, source and path, so a crash at
any moment leaves either the file in the inbox, or a token folder that the next start opens.
"""

from headgate.listeners.files.listener import FileListener
from headgate.listeners.files.settling import Settler
from headgate.listeners.files.spool import Spool

__all__ = ["FileListener", "Settler", "Spool"]
