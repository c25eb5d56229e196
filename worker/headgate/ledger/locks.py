"""The advisory locks of the ledger's database: a number each, the same in every process, and no two the same."""

from enum import IntEnum, unique


@unique
class Lock(IntEnum):
    """What at most one process does at a time."""

    MIGRATE = 0x4EAD6A7E  # any numbers
    ANNOUNCE = 0x4EAD6A7F
    APPLY = 0x4EAD6A80
