"""What is kept of an address goes once it is gone for so long that the log does not tell of it any more.

Nothing that can be asked for needs it then: `at` goes as far back as the log. Without that, a workflow that goes
through ever new keys would grow for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.effects import Batch, Flow, Forget, LoadGone, do

if TYPE_CHECKING:
    from ctxqueue.flows.terms import Terms

ADDRESSES_A_STEP = 100


def is_due(terms: Terms, revision: int) -> bool:
    """Whether another tenth of the log has been written.

    An odd number of revisions: where every other one is a sweep's, which does not come by here, one of two is due.
    """
    limit = terms.bounds.log_limit
    return revision > limit and not revision % (limit // 10 | 1)


def forget_gone(terms: Terms, workflow_id: str, revision: int) -> Flow[None]:
    """Forget what is kept of them, each time that it is due."""
    if not is_due(terms, revision):
        return
    gone_by = revision - terms.bounds.log_limit
    while gone := (yield from do(LoadGone(workflow_id, gone_by, ADDRESSES_A_STEP))):
        yield from do(Batch(tuple(Forget(workflow_id, address, gone_by=gone_by) for address in gone)))
