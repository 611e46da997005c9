"""The reporter: writes what the calculator found and what was left out."""

from typing import TYPE_CHECKING, Any

from workers import entries
from workers.app import ctx
from workers.consolidation import Summary, Total
from workers.report import write_report
from workers.revenue import SkippedRow

if TYPE_CHECKING:
    from ctxqueue import AgentContext


@ctx.task(name="report_generator.write", agent_type="report_generator", needs=entries.SUMMARY)
def write(self: Any, directory: str) -> dict[str, Any]:
    """Write the report and share where it is."""
    view: AgentContext = self.context.view()
    found = view[entries.SUMMARY]
    totals = [Total.from_json(item) for number in range(found["totals"]) for item in view[entries.totals(number)]]
    left_out = [key for key in view if key.startswith(("extraction_errors_", "calculation_skipped_"))]
    skipped = [SkippedRow.from_json(item) for key in left_out for item in view[key]]
    files = write_report(directory, totals, Summary.from_json(found["converted"]), skipped)
    self.context.put(entries.OUTPUT, [str(file) for file in files])
    return {
        "waited": self.waited,
        "did": f"wrote {len(totals)} totals and {len(skipped)} skipped rows",
        "files": [str(file) for file in files],
    }
