"""The calculator: converts all rows to euro and adds them up by entity and quarter."""

from typing import Any

from ctxqueue import AgentContext, all_of
from ctxqueue.rules.conditions import Condition
from workers import entries
from workers.app import ctx
from workers.consolidation import Consolidation, chunked
from workers.revenue import RevenueRow, SkippedRow


def everything(parts: int) -> Condition:
    """All rows, and the rates for all of them."""
    return all_of(*map(entries.revenue, range(parts)), *map(entries.rates, range(parts)))


@ctx.task(
    name="financial_calculator.calculate",
    agent_type="financial_calculator",
    agent_role="analyst",
    needs=everything,
)
def calculate(self: Any, parts: int) -> dict[str, Any]:
    """Share the totals in chunks, then the summary that says they are complete."""
    view: AgentContext = self.context.view()
    consolidation = Consolidation()
    skipped: list[SkippedRow] = []
    for part in range(parts):
        rows = [RevenueRow.from_json(item) for item in view[entries.revenue(part)]]
        skipped += consolidation.add_part(rows, view[entries.rates(part)])
        self.context.put(entries.rates_used(part), view[entries.rates(part)])
    totals = list(chunked(consolidation.totals()))
    for number, chunk in enumerate(totals):
        self.context.put(entries.totals(number), chunk, priority="high")
    without_rate = entries.chunked(skipped)
    for number, rows_left_out in enumerate(without_rate):
        self.context.put(entries.no_rate(number), rows_left_out, priority="high")
    self.context.put(
        entries.SUMMARY,
        {
            "converted": consolidation.summary.to_json(),
            "totals": len(totals),
            "skipped": len(without_rate),
        },
    )
    converted = consolidation.summary.converted
    return {"waited": self.waited, "did": f"converted {converted} rows, {len(skipped)} without a rate"}
