"""The agents."""

from decimal import Decimal

from shop.celery import ctx

from ctxqueue import all_of
from reports.models import Report


@ctx.task(agent_type="web_extractor")
def extract(self, amounts):
    """Share what came in."""
    self.context.put("revenue", [Decimal(amount) for amount in amounts])


@ctx.task(agent_type="financial_calculator", needs=all_of("revenue", "exchange_rates"), needs_timeout=60)
def calculate(self, report_id):
    """Fill the report, in the database of the site."""
    total = sum(self.context["revenue"]) * self.context["exchange_rates"]["USD"]
    Report.objects.filter(pk=report_id).update(total=total)
    return report_id
