"""The advisory locks of the ledger's database: each a unique number, the same in every process."""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """Work that only one process may do at a time."""

    MIGRATE = 0x4EAD6A7E  # the numbers are arbitrary
    ANNOUNCE = 0x4EAD6A7F
    APPLY = 0x4EAD6A80
