"""The extractors: revenue rows from the file, and the euro rates that these rows need."""

from typing import Any

from ctxqueue import Put
from workers import entries
from workers.app import ctx
from workers.rates import rate_history, rate_table
from workers.revenue import Part, RevenueRow, read_part


@ctx.task(name="web_extractor.extract_revenue", agent_type="web_extractor")
def extract_revenue(self: Any, path: str, part: dict[str, int]) -> dict[str, Any]:
    """Share the rows of one part, and those that cannot be read with their reasons, as one commit."""
    which = Part.from_json(part)
    rows, skipped = read_part(path, which)
    updates: dict[str, Any] = {entries.revenue(which.index): [row.to_json() for row in rows]}
    if skipped:
        updates[entries.extraction_errors(which.index)] = Put([row.to_json() for row in skipped], priority="high")
    self.context.update(updates, merge_strategy="replace")
    return {"waited": self.waited, "did": f"read {len(rows)} rows, skipped {len(skipped)}"}


@ctx.task(
    name="web_extractor.extract_rates",
    agent_type="web_extractor",
    needs=entries.revenue,
)
def extract_rates(self: Any, part: int) -> dict[str, Any]:
    """Share the rates for the days and currencies of one part."""
    rows = [RevenueRow.from_json(item) for item in self.context[entries.revenue(part)]]
    table = rate_table(rows, rate_history())
    self.context.update({entries.rates(part): table}, merge_strategy="replace")
    return {
        "waited": self.waited,
        "did": f"found rates of {sum(days is not None for days in table.values())} currencies",
    }
