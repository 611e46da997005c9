"""Every path by which something that is stored may be seen, and by which rule each shows it.

A test asks of each public call, command and task whether it stands here or in that test's own list of those that show
nothing; another drives each path of an agent's against an oracle (docs/security.md). Async twins go by the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Sight = Literal["agent", "operator", "process"]
"""Who looks. ``agent``: only what the one visibility rule allows. ``operator``: all, no sensitive value unless it is
asked for with ``reveal``; inside an agent's task it is refused. ``process``: what the trusted process itself holds."""

READ_PATHS: Final[Mapping[str, Sight]] = {
    # one agent's hold on one workflow
    "WorkflowHandle.__getitem__": "agent",
    "WorkflowHandle.at": "agent",
    "WorkflowHandle.changes": "agent",
    "WorkflowHandle.create": "agent",
    "WorkflowHandle.get": "agent",
    "WorkflowHandle.graph": "agent",
    "WorkflowHandle.history": "agent",
    "WorkflowHandle.list": "agent",
    "WorkflowHandle.notifications": "agent",
    "WorkflowHandle.put": "agent",
    "WorkflowHandle.stale": "agent",
    "WorkflowHandle.subscribe": "agent",
    "WorkflowHandle.subscriptions": "agent",
    "WorkflowHandle.triggers": "agent",
    "WorkflowHandle.view": "agent",
    "WorkflowHandle.wait_for": "agent",
    "WorkflowHandle.watch": "agent",
    "WorkflowHandle.when": "agent",
    "When.then": "agent",
    "Watch.__iter__": "agent",
    "Watch.__next__": "agent",
    # what the errors of its own calls tell it
    "CircularDependencyError": "agent",
    "DependencyTimeout": "agent",
    "EntryExists": "agent",
    "EntryNotFound": "agent",
    "VersionConflict": "agent",
    # what a view shows once it is taken
    "AgentContext.__contains__": "agent",
    "AgentContext.__getitem__": "agent",
    "AgentContext.__iter__": "agent",
    "AgentContext.__len__": "agent",
    "AgentContext.__repr__": "agent",
    "AgentContext.agent_state": "agent",
    "AgentContext.as_dict": "agent",
    "AgentContext.dependencies": "agent",
    "AgentContext.entry": "agent",
    "AgentContext.get": "agent",
    "AgentContext.hidden_by_filter": "agent",
    "AgentContext.items": "agent",
    "AgentContext.keys": "agent",
    "AgentContext.readable": "agent",
    "AgentContext.render": "agent",
    "AgentContext.shadowed": "agent",
    "AgentContext.values": "agent",
    # by the reference's names
    "SharedContextManager.get_context_for_agent": "agent",
    "SharedContextManager.subscribe_to_context_changes": "agent",
    "ContextNotificationManager.notification_history": "agent",
    "ContextNotificationManager.subscribe_to_context_changes": "agent",
    "ContextAwareAgent.execute_with_context": "agent",
    "ContextAwareAgent.subscribe_to_context_changes": "agent",
    "ContextAwareAgent.wait_for_dependency": "agent",
    "MemoryEnhancedContextManager.get_context_with_memory": "agent",
    "UnifiedContextMemorySystem.process_with_memory_learning": "agent",
    # tasks
    "task.needs": "agent",
    "task.wait_for": "agent",
    "task.cause": "agent",
    # memories
    "VectorMemoryManager.forget": "agent",
    "VectorMemoryManager.get": "agent",
    "VectorMemoryManager.list": "agent",
    "VectorMemoryManager.pin": "agent",
    "VectorMemoryManager.recall": "agent",
    "VectorMemoryManager.reinforce": "agent",
    "VectorMemoryManager.retrieve_relevant_memories": "agent",
    "VectorMemoryManager.supersede": "agent",
    "VectorMemoryManager.practise_skill": "agent",
    "QueuedMemoryManager.enqueue_recall": "agent",
    "PendingRecall.get": "agent",
    "WorkingMemory.items": "agent",
    # whoever runs the place
    "SharedContextManager.audit": "operator",
    "SharedContextManager.audit_gone": "operator",
    "SharedContextManager.backlog": "operator",
    "SharedContextManager.dead_letters": "operator",
    "SharedContextManager.parked": "operator",
    "SharedContextManager.summary": "operator",
    "SharedContextManager.unread": "operator",
    "SharedContextManager.workflows": "operator",
    "ContextDependencyTracker.dependency_graph": "operator",
    "ContextDependencyTracker.is_resolved": "operator",
    "ContextDependencyTracker.register_dependency_callback": "operator",
    "ContextDependencyTracker.reverse_dependencies": "operator",
    "ContextDependencyTracker.stale": "operator",
    "ContextQueue.dead_letters": "operator",
    "ContextQueue.parked": "operator",
    "ctx audit export": "operator",
    "ctx changes": "operator",
    "ctx dead list": "operator",
    "ctx diff": "operator",
    "ctx export": "operator",
    "ctx exporter": "operator",
    "ctx get": "operator",
    "ctx graph": "operator",
    "ctx history": "operator",
    "ctx memory list": "operator",
    "ctx memory search": "operator",
    "ctx memory show": "operator",
    "ctx memory stats": "operator",
    "ctx parked list": "operator",
    "ctx show": "operator",
    "ctx stats": "operator",
    "ctx triggers list": "operator",
    "ctx triggers show": "operator",
    "ctx unread": "operator",
    "ctx watch": "operator",
    "ctx workflows": "operator",
    # the trusted process's own
    "Proposed.size": "process",  # what an update would leave, merged: a write guard is asked about it
    "Proposed.value": "process",
    "ContextStorage.get_context": "process",
    "VectorMemoryManager.apply_retention": "process",
}
