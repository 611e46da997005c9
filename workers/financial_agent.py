"""The agent that keeps a report true: when a rate has changed by more than 1% after it, all is calculated again."""

from decimal import Decimal
from typing import Any

from celery import chain

from ctxqueue import AgentContext, ContextAwareAgent
from workers import entries, rates
from workers.app import ctx
from workers.financial_calculator import calculate
from workers.report_generator import write

FOLLOW = "follow the rates"
MOST_CHANGED = Decimal("0.01")
"""A rate that differs by more than this fraction from what the last calculation went by makes it out of date."""
QUIET_SECONDS = 1.0
"""Rates come one after the other: so long after the last of them it is calculated, once for all."""
PATIENCE_SECONDS = 3_600.0


def rates_moved(cause: dict[str, Any], view: AgentContext) -> bool:
    """Whether one of the tables that were changed differs by so much. Its subscription asks this.

    Not `changed_by`, which compares up to 2,000 numbers: a large file has more rates.
    """
    return any(
        rates.moved(view.get(entries.used_of(key), {}), view.get(key, {}), MOST_CHANGED) for key in cause["keys"]
    )


class FinancialAgent(ContextAwareAgent):
    """Waits for the report on the consolidated revenue, then follows the rates that it went by."""

    def execute_task_with_context(self, task: str, context: dict[str, Any]) -> dict[str, Any]:
        """Wait for the report, holding no worker, and subscribe to the rates."""
        if task != FOLLOW:
            raise ValueError(f"{self.name} knows one task, {FOLLOW!r}, not {task!r}")
        workflow_id, consolidation = context["workflow_id"], context["metadata"]
        self.wait_for_dependency(workflow_id, entries.OUTPUT, PATIENCE_SECONDS)
        subscription = self.subscribe_to_context_changes(
            workflow_id,
            entries.ALL_RATES,
            # Sent by the store, once a change and with fixed ids: a crash in between launches none twice.
            signature=chain(calculate.si(consolidation["parts"]), write.si(consolidation["output"])),
            debounce=QUIET_SECONDS,
            when=rates_moved,
        )
        return {"status": "success", "subscription": subscription.id}


AGENT = FinancialAgent("financial_calculator", "analyst", context_manager=ctx.manager)
follow = ctx.register_agent(AGENT, name="financial_calculator.follow_rates").execute
"""``follow.delay(FOLLOW)`` inside ``with ctx.workflow(...)``."""
