"""The part of a transaction's state that is about the audit log, and its statements."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Integer, LargeBinary, bindparam, delete, func, select

from ctxqueue import effects as fx
from ctxqueue.stores.sql import packing
from ctxqueue.stores.sql.looking import NAMESPACE
from ctxqueue.stores.sql.schema import audit, policies
from ctxqueue.stores.sql.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

_at = bindparam("at", type_=BigInteger)
AFTER = (
    select(audit.c.at_us, audit.c.record_id, audit.c.record)
    .where(
        audit.c.namespace == NAMESPACE,
        (audit.c.at_us > _at) | ((audit.c.at_us == _at) & (audit.c.record_id > bindparam("behind", type_=LargeBinary))),
    )
    .order_by(audit.c.at_us, audit.c.record_id)
    .limit(bindparam("rows", type_=Integer))
)
TRIM_AGED = delete(audit).where(audit.c.namespace == NAMESPACE, audit.c.at_us <= bindparam("until", type_=BigInteger))
SURPLUS = (
    select(audit.c.at_us, audit.c.record_id)
    .where(audit.c.namespace == NAMESPACE)
    .order_by(audit.c.at_us.desc(), audit.c.record_id.desc())
    .limit(1)
    .offset(bindparam("most", type_=Integer))
)
TRIM_SURPLUS = delete(audit).where(
    audit.c.namespace == NAMESPACE,
    (audit.c.at_us < bindparam("until", type_=BigInteger))
    | (
        (audit.c.at_us == bindparam("until", type_=BigInteger))
        & (audit.c.record_id <= bindparam("behind", type_=LargeBinary))
    ),
)
POLICY = select(policies.c.digest).where(policies.c.namespace == NAMESPACE)


class SqlAudit(Transaction):
    """The audit log, and which policy was noted last."""

    def write_audit(self, records: Sequence[fx.Audited], now_us: int) -> None:
        """Add records, each once; those of one call in their order, as if a microsecond lay between."""
        rows = [
            {"record_id": record.record_id, "at_us": at_us, "record": packing.pack_audited(record)}
            for at_us, record in enumerate(records, now_us)
        ]
        self._put(self._statements.audit, rows)

    def audit(self, at_us: int, tie: str, limit: int) -> Sequence[fx.AuditItem]:
        """Return records behind a place, in order."""
        rows = self._rows(AFTER, at=at_us, behind=bytes.fromhex(tie), rows=limit)
        return [fx.AuditItem(packing.audited(record_id, packed), at, record_id.hex()) for at, record_id, packed in rows]

    def trim_audit(self, before_us: int, most: int) -> None:
        """Remove records from before an instant, and the oldest but so many."""
        self._change(TRIM_AGED, {"until": before_us})
        surplus = self._rows(SURPLUS, most=most)
        if surplus:
            self._change(TRIM_SURPLUS, {"until": surplus[0].at_us, "behind": surplus[0].record_id})

    def policy(self) -> str:
        """Return the digest of the policy that was noted last, once nobody else is about to note one."""
        if self._dialect == "postgresql":
            digest = hashlib.blake2b(f"{self._namespace}\0policy".encode(), digest_size=8).digest()
            self._connection.execute(select(func.pg_advisory_xact_lock(int.from_bytes(digest, signed=True))))
        rows = self._rows(POLICY)
        return str(rows[0].digest) if rows else ""

    def save_policy(self, digest: str) -> None:
        """Note a policy."""
        self._put(self._statements.policy, [{"digest": digest}])
