"""What a memory's row keeps of the changes that have written it, so that one that is told again counts once."""

from __future__ import annotations

import hashlib
import os

from ctxqueue.remembered import MARK


def mark_of(operation: str | None) -> bytes:
    """Return an operation's mark, the same each time; for None one that no other change has."""
    return os.urandom(MARK) if operation is None else hashlib.blake2b(operation.encode(), digest_size=MARK).digest()
