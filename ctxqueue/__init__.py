"""Shared context, coordination and memory for LLM agents that run as Celery tasks on Redis.

`connect` opens a store; `install` puts it into a Celery app. Names are loaded when they are first used, so that
``import ctxqueue`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctxqueue.after_commit import AfterCommit as AfterCommit
    from ctxqueue.agents import AsyncContextAwareAgent as AsyncContextAwareAgent
    from ctxqueue.agents import ContextAwareAgent as ContextAwareAgent
    from ctxqueue.aio import AsyncSharedContextManager as AsyncSharedContextManager
    from ctxqueue.aio import AsyncWorkflowHandle as AsyncWorkflowHandle
    from ctxqueue.aio import aconnect as aconnect
    from ctxqueue.audited import AuditedEntry as AuditedEntry
    from ctxqueue.audited import AuditRecord as AuditRecord
    from ctxqueue.context import SharedContextManager as SharedContextManager
    from ctxqueue.context import WorkflowHandle as WorkflowHandle
    from ctxqueue.context import connect as connect
    from ctxqueue.errors import *  # noqa: F403
    from ctxqueue.handles import copy_context as copy_context
    from ctxqueue.handles import current as current
    from ctxqueue.integration.claims import claimed as claimed
    from ctxqueue.integration.defaults import celery_defaults as celery_defaults
    from ctxqueue.integration.install import ContextQueue as ContextQueue
    from ctxqueue.integration.install import install as install
    from ctxqueue.keyring import Keyring as Keyring
    from ctxqueue.memories.aio import AsyncVectorMemoryManager as AsyncVectorMemoryManager
    from ctxqueue.memories.embedders import CallableEmbedder as CallableEmbedder
    from ctxqueue.memories.embedders import Embedder as Embedder
    from ctxqueue.memories.enhanced import MemoryEnhancedContextManager as MemoryEnhancedContextManager
    from ctxqueue.memories.enhanced import UnifiedContextMemorySystem as UnifiedContextMemorySystem
    from ctxqueue.memories.enhanced_aio import AsyncMemoryEnhancedContextManager as AsyncMemoryEnhancedContextManager
    from ctxqueue.memories.enhanced_aio import AsyncUnifiedContextMemorySystem as AsyncUnifiedContextMemorySystem
    from ctxqueue.memories.http import OpenAIEmbedder as OpenAIEmbedder
    from ctxqueue.memories.manager import VectorMemoryManager as VectorMemoryManager
    from ctxqueue.memories.recalls import AsyncPendingRecall as AsyncPendingRecall
    from ctxqueue.memories.recalls import PendingRecall as PendingRecall
    from ctxqueue.memories.sentences import SentenceTransformerEmbedder as SentenceTransformerEmbedder
    from ctxqueue.memories.static import StaticEmbedder as StaticEmbedder
    from ctxqueue.memories.weights import Weights as Weights
    from ctxqueue.memories.working import AsyncWorkingMemory as AsyncWorkingMemory
    from ctxqueue.memories.working import WorkingMemory as WorkingMemory
    from ctxqueue.models import Agent as Agent
    from ctxqueue.models import Backlog as Backlog
    from ctxqueue.models import Change as Change
    from ctxqueue.models import CommitResult as CommitResult
    from ctxqueue.models import ContextEntry as ContextEntry
    from ctxqueue.models import ContextPriority as ContextPriority
    from ctxqueue.models import ContextScope as ContextScope
    from ctxqueue.models import DeadLetter as DeadLetter
    from ctxqueue.models import EraseReport as EraseReport
    from ctxqueue.models import Notification as Notification
    from ctxqueue.models import Page as Page
    from ctxqueue.models import ParkedTask as ParkedTask
    from ctxqueue.models import Progress as Progress
    from ctxqueue.models import Put as Put
    from ctxqueue.models import RotationReport as RotationReport
    from ctxqueue.models import Secret as Secret
    from ctxqueue.models import SweepReport as SweepReport
    from ctxqueue.models import WorkflowContext as WorkflowContext
    from ctxqueue.models import WorkflowSummary as WorkflowSummary
    from ctxqueue.notifications import AsyncContextNotificationManager as AsyncContextNotificationManager
    from ctxqueue.notifications import ContextNotificationManager as ContextNotificationManager
    from ctxqueue.pending import AsyncPendingUpdate as AsyncPendingUpdate
    from ctxqueue.pending import PendingUpdate as PendingUpdate
    from ctxqueue.remembered import MemoryEntry as MemoryEntry
    from ctxqueue.remembered import Recalled as Recalled
    from ctxqueue.remembered import RetentionReport as RetentionReport
    from ctxqueue.rendering import render as render
    from ctxqueue.rules.changes import changed_by as changed_by
    from ctxqueue.rules.conditions import all_of as all_of
    from ctxqueue.rules.conditions import any_of as any_of
    from ctxqueue.rules.conditions import at_least as at_least
    from ctxqueue.rules.conditions import in_workflow as in_workflow
    from ctxqueue.rules.conditions import key as key
    from ctxqueue.rules.conditions import stale as stale
    from ctxqueue.rules.guards import Guards as Guards
    from ctxqueue.rules.guards import Instead as Instead
    from ctxqueue.rules.guards import Proposed as Proposed
    from ctxqueue.rules.merging import register_reducer as register_reducer
    from ctxqueue.rules.retention import Retention as Retention
    from ctxqueue.rules.visibility import ContextFilterRegistry as ContextFilterRegistry
    from ctxqueue.settings import Settings as Settings
    from ctxqueue.storages import AsyncContextStorage as AsyncContextStorage
    from ctxqueue.storages import AsyncDatabaseContextStorage as AsyncDatabaseContextStorage
    from ctxqueue.storages import AsyncMemoryContextStorage as AsyncMemoryContextStorage
    from ctxqueue.storages import AsyncRedisContextStorage as AsyncRedisContextStorage
    from ctxqueue.storages import ContextStorage as ContextStorage
    from ctxqueue.storages import DatabaseContextStorage as DatabaseContextStorage
    from ctxqueue.storages import MemoryContextStorage as MemoryContextStorage
    from ctxqueue.storages import RedisContextStorage as RedisContextStorage
    from ctxqueue.subscriptions import AsyncSubscription as AsyncSubscription
    from ctxqueue.subscriptions import Subscription as Subscription
    from ctxqueue.tracking import AsyncContextDependencyTracker as AsyncContextDependencyTracker
    from ctxqueue.tracking import ContextDependencyTracker as ContextDependencyTracker
    from ctxqueue.triggers import AsyncTrigger as AsyncTrigger
    from ctxqueue.triggers import Trigger as Trigger
    from ctxqueue.views import AgentContext as AgentContext
    from ctxqueue.watching import AsyncWatch as AsyncWatch
    from ctxqueue.watching import Watch as Watch

__version__ = "0.1.0"

_HOMES = {
    "ctxqueue.agents": ("AsyncContextAwareAgent", "ContextAwareAgent"),
    "ctxqueue.after_commit": ("AfterCommit",),
    "ctxqueue.aio": ("AsyncSharedContextManager", "AsyncWorkflowHandle", "aconnect"),
    "ctxqueue.context": ("SharedContextManager", "WorkflowHandle", "connect"),
    "ctxqueue.handles": ("copy_context", "current"),
    "ctxqueue.integration.claims": ("claimed",),
    "ctxqueue.integration.defaults": ("celery_defaults",),
    "ctxqueue.integration.install": ("ContextQueue", "install"),
    "ctxqueue.keyring": ("Keyring",),
    "ctxqueue.memories.aio": ("AsyncVectorMemoryManager",),
    "ctxqueue.memories.embedders": ("CallableEmbedder", "Embedder"),
    "ctxqueue.memories.enhanced": ("MemoryEnhancedContextManager", "UnifiedContextMemorySystem"),
    "ctxqueue.memories.enhanced_aio": ("AsyncMemoryEnhancedContextManager", "AsyncUnifiedContextMemorySystem"),
    "ctxqueue.memories.http": ("OpenAIEmbedder",),
    "ctxqueue.memories.manager": ("VectorMemoryManager",),
    "ctxqueue.memories.recalls": ("AsyncPendingRecall", "PendingRecall"),
    "ctxqueue.memories.sentences": ("SentenceTransformerEmbedder",),
    "ctxqueue.memories.static": ("StaticEmbedder",),
    "ctxqueue.memories.weights": ("Weights",),
    "ctxqueue.memories.working": ("AsyncWorkingMemory", "WorkingMemory"),
    "ctxqueue.rendering": ("render",),
    "ctxqueue.remembered": ("MemoryEntry", "Recalled", "RetentionReport"),
    "ctxqueue.audited": ("AuditRecord", "AuditedEntry"),
    "ctxqueue.models": (
        *("Agent", "Backlog", "Change", "CommitResult", "ContextEntry", "ContextPriority", "ContextScope"),
        *("DeadLetter", "EraseReport", "Notification", "Page", "ParkedTask", "Progress"),
        *("Put", "RotationReport", "Secret"),
        *("SweepReport", "WorkflowContext", "WorkflowSummary"),
    ),
    "ctxqueue.notifications": ("AsyncContextNotificationManager", "ContextNotificationManager"),
    "ctxqueue.tracking": ("AsyncContextDependencyTracker", "ContextDependencyTracker"),
    "ctxqueue.pending": ("AsyncPendingUpdate", "PendingUpdate"),
    "ctxqueue.rules.changes": ("changed_by",),
    "ctxqueue.rules.conditions": ("all_of", "any_of", "at_least", "in_workflow", "key", "stale"),
    "ctxqueue.rules.guards": ("Guards", "Instead", "Proposed"),
    "ctxqueue.rules.merging": ("register_reducer",),
    "ctxqueue.rules.retention": ("Retention",),
    "ctxqueue.rules.visibility": ("ContextFilterRegistry",),
    "ctxqueue.settings": ("Settings",),
    "ctxqueue.storages": (
        *("ContextStorage", "MemoryContextStorage", "RedisContextStorage", "DatabaseContextStorage"),
        *(
            "AsyncContextStorage",
            "AsyncMemoryContextStorage",
            "AsyncRedisContextStorage",
            "AsyncDatabaseContextStorage",
        ),
    ),
    "ctxqueue.views": ("AgentContext",),
    "ctxqueue.subscriptions": ("AsyncSubscription", "Subscription"),
    "ctxqueue.triggers": ("AsyncTrigger", "Trigger"),
    "ctxqueue.watching": ("AsyncWatch", "Watch"),
    "ctxqueue.errors": (
        *(
            "CtxqueueError",
            "InvalidInput",
            "InvalidName",
            "InvalidDuration",
            "UnknownScope",
            "UnknownPriority",
        ),
        *(
            "UnknownStrategy",
            "NotSerializable",
            "ValueTooLarge",
            "CommitTooLarge",
            "MixedWorkflows",
            "ConditionError",
            "WriteRefused",
        ),
        *(
            "StateError",
            "WorkflowNotFound",
            "WorkflowExists",
            "WorkflowClosed",
            "EntryNotFound",
            "EntryExists",
        ),
        *("VersionConflict", "CapacityError", "QuotaExceeded", "CircularDependencyError"),
        *("InboxFull", "UpdateAbandoned", "UpdatePending", "RunAbandoned"),
        *("DependencyTimeout", "DependencyNotReady"),
        *(
            "CallError",
            "StaleOperation",
            "OperationDiverged",
            "AttemptSuperseded",
            "ReadError",
            "RevisionTrimmed",
            "HistoryDiverged",
            "RecordTooNew",
            "RecordDamaged",
        ),
        *(
            "AccessError",
            "AccessDenied",
            "IdentityMismatch",
            "BadSignature",
            "DecryptionError",
            "ContentRefused",
            "StoreError",
            "StoreUnavailable",
            "StoreAuthError",
        ),
        *("StoreReadOnly", "UnsafeServer", "SchemaTooOld", "SchemaTooNew"),
        *("MemoryFailure", "EmbedderError", "DimensionMismatch", "ModelMismatch"),
        *("UsageError", "ConfigurationError", "SyncInAsyncError", "GuardFailed"),
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])  # noqa: PLE0605 - one list, not two


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'ctxqueue' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
