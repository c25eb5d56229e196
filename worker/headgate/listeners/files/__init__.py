"""Watches folders, and takes each file in exactly once.

A file's way: the `watch` and the listener's scan say where to look, `readiness` says when the file is complete, `spool`
takes it out of the inbox with one atomic rename, `intake` opens its arrival in the ledger, and `settling` settles its
bytes. Between the rename and the ledger's commit, the file's place in the spool tells pipeline, source and path. So a
crash at any moment leaves either the file in the inbox, or a token folder that the next start opens.
"""

from headgate.listeners.files.listener import FileListener
from headgate.listeners.files.settling import Settler
from headgate.listeners.files.spool import Spool

__all__ = ["FileListener", "Settler", "Spool"]
