"""Reading many addresses, however large their values are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import LEFT_OUT, Flow, Load, do

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ctxqueue.effects import Head

BYTES_A_CALL = 1024 * 1024
ROUNDS = 3


def load(workflow_id: str, addresses: Iterable[str]) -> Flow[tuple[Head | None, dict[str, bytes]]]:
    """Return the head, and the records that are there and fresh, of one revision.

    Large ones come by several calls, so that none holds the store for long. Where others commit between two of them it
    begins anew, and in the end takes all at once.
    """
    wanted = tuple(addresses)
    for _ in range(ROUNDS if len(wanted) > 1 else 0):
        head, records = yield from do(Load(workflow_id, wanted, BYTES_A_CALL))
        while head is not None and (left := tuple(address for address in records if records[address] == LEFT_OUT)):
            now, more = yield from do(Load(workflow_id, left, BYTES_A_CALL))
            if now is None or (now.incarnation, now.revision) != (head.incarnation, head.revision):
                break
            records = {address: record for address, record in records.items() if record} | more
        else:
            return head, records
    return (yield from do(Load(workflow_id, wanted)))
