"""The audit log in this process's memory."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ctxqueue import effects as fx

if TYPE_CHECKING:
    from collections.abc import Sequence


class AuditLog:
    """The part of a `State` that is about the audit log; whoever uses it holds the store's lock."""

    def __init__(self) -> None:
        super().__init__()
        self._audit: list[fx.AuditItem] = []
        self._audited: set[bytes] = set()
        self._policy = ""

    def write_audit(self, records: Sequence[fx.Audited], now_us: int) -> None:
        """Add records, each once."""
        at_us = max(now_us, self._audit[-1].at_us) if self._audit else now_us
        for record in records:
            if record.record_id not in self._audited:
                number = int(self._audit[-1].tie) + 1 if self._audit else 1
                self._audit.append(fx.AuditItem(record, at_us, f"{number:020d}"))
                self._audited.add(record.record_id)

    def audit(self, at_us: int, tie: str, limit: int) -> Sequence[fx.AuditItem]:
        """Return records behind a place, in order."""
        start = bisect_right(self._audit, (at_us, tie), key=lambda record: (record.at_us, record.tie))
        return self._audit[start : start + limit]

    def trim_audit(self, before_us: int, most: int) -> None:
        """Remove records from before an instant, and the oldest but so many."""
        old = bisect_right(self._audit, before_us, key=lambda record: record.at_us)
        gone = max(old, len(self._audit) - most)
        self._audited.difference_update(record.audited.record_id for record in self._audit[:gone])
        del self._audit[:gone]

    def policy(self) -> str:
        """Return the digest of the policy that was noted last."""
        return self._policy

    def save_policy(self, digest: str) -> None:
        """Note a policy."""
        self._policy = digest
