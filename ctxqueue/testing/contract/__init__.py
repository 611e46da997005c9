"""What every store must do, as tests that a back end inherits.

::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def url(self) -> str:
            return "mystore://..."      # of a store that is empty at the start of each test

They go through the public interface alone, but for `Attempts`: how runs are claimed and parked has no other face
than Celery's, so those tests carry out its flows. Those about memories need the extra ``memory``. Each store keeps the
same promises; none is laxer than another.
"""

from __future__ import annotations

import pytest

PARTS = (
    *(
        "access",
        "attempts",
        "auditing",
        "base",
        "bounds",
        "calls",
        "cancelling",
        "clerks",
        "draining",
        "encrypting",
        "entries",
        "erasing",
        "expiry",
    ),
    *(
        "endings",
        "eviction",
        "graph",
        "guards",
        "histories",
        "inbox",
        "judging",
        "learning",
        "memories",
        "merges",
        "views",
    ),
    *(
        "listing",
        "readers",
        "mistakes",
        "parking",
        "recurring",
        "released",
        "relevance",
        "retention",
        "scopes",
        "steps",
    ),
    *("policies", "quotas"),
    *("subscriptions", "surveys", "tracking", "transactions", "triggers", "updates", "values", "waiters", "waking"),
    *("watching", "workflows", "working"),
)

pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in PARTS))

from ctxqueue.testing.contract.access import Access  # noqa: E402 - the line above must come first
from ctxqueue.testing.contract.attempts import Attempts  # noqa: E402
from ctxqueue.testing.contract.auditing import Auditing  # noqa: E402
from ctxqueue.testing.contract.bounds import Bounds  # noqa: E402
from ctxqueue.testing.contract.calls import Calls  # noqa: E402
from ctxqueue.testing.contract.cancelling import Cancelling  # noqa: E402
from ctxqueue.testing.contract.draining import Draining  # noqa: E402
from ctxqueue.testing.contract.encrypting import Encrypting  # noqa: E402
from ctxqueue.testing.contract.endings import Endings  # noqa: E402
from ctxqueue.testing.contract.entries import Entries  # noqa: E402
from ctxqueue.testing.contract.erasing import Erasing  # noqa: E402
from ctxqueue.testing.contract.eviction import Eviction  # noqa: E402
from ctxqueue.testing.contract.expiry import Expiry  # noqa: E402
from ctxqueue.testing.contract.graph import Graph  # noqa: E402
from ctxqueue.testing.contract.guards import Guarding  # noqa: E402
from ctxqueue.testing.contract.histories import Histories  # noqa: E402
from ctxqueue.testing.contract.inbox import Inbox  # noqa: E402
from ctxqueue.testing.contract.judging import Judging  # noqa: E402
from ctxqueue.testing.contract.learning import Learning  # noqa: E402
from ctxqueue.testing.contract.listing import Listing  # noqa: E402
from ctxqueue.testing.contract.memories import Memories  # noqa: E402
from ctxqueue.testing.contract.merges import Merges  # noqa: E402
from ctxqueue.testing.contract.mistakes import Mistakes  # noqa: E402
from ctxqueue.testing.contract.overtaken import Overtaken  # noqa: E402
from ctxqueue.testing.contract.parking import Parking  # noqa: E402
from ctxqueue.testing.contract.policies import Policies  # noqa: E402
from ctxqueue.testing.contract.quotas import Quotas  # noqa: E402
from ctxqueue.testing.contract.readers import Readers  # noqa: E402
from ctxqueue.testing.contract.recurring import Recurring  # noqa: E402
from ctxqueue.testing.contract.released import Released  # noqa: E402
from ctxqueue.testing.contract.relevance import Relevance  # noqa: E402
from ctxqueue.testing.contract.retention import RetentionOfMemories  # noqa: E402
from ctxqueue.testing.contract.scopes import Scopes  # noqa: E402
from ctxqueue.testing.contract.steps import Steps  # noqa: E402
from ctxqueue.testing.contract.subscriptions import Subscriptions  # noqa: E402
from ctxqueue.testing.contract.surveys import Surveys  # noqa: E402
from ctxqueue.testing.contract.tracking import Tracking  # noqa: E402
from ctxqueue.testing.contract.transactions import Transactions  # noqa: E402
from ctxqueue.testing.contract.triggers import Triggers  # noqa: E402
from ctxqueue.testing.contract.updates import Updates  # noqa: E402
from ctxqueue.testing.contract.values import Values  # noqa: E402
from ctxqueue.testing.contract.views import Views  # noqa: E402
from ctxqueue.testing.contract.waiters import Waiters  # noqa: E402
from ctxqueue.testing.contract.waking import Waking  # noqa: E402
from ctxqueue.testing.contract.watching import Watching  # noqa: E402
from ctxqueue.testing.contract.workflows import Workflows  # noqa: E402
from ctxqueue.testing.contract.working import WorkingMemories  # noqa: E402

__all__ = ["StoreContract"]


class StoreContract(
    Workflows,
    Entries,
    Transactions,
    Updates,
    Expiry,
    Listing,
    Scopes,
    Steps,
    Relevance,
    Access,
    Policies,
    Guarding,
    Quotas,
    Auditing,
    Calls,
    Cancelling,
    Bounds,
    Values,
    Mistakes,
    Attempts,
    Parking,
    Judging,
    Triggers,
    Waiters,
    Recurring,
    Subscriptions,
    Tracking,
    Waking,
    Watching,
    Overtaken,
    Released,
    Endings,
    Erasing,
    Eviction,
    Graph,
    Histories,
    Surveys,
    Readers,
    Inbox,
    Draining,
    Memories,
    Learning,
    RetentionOfMemories,
    WorkingMemories,
    Merges,
    Views,
    Encrypting,
):
    """All of it."""
