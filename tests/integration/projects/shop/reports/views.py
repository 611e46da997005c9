"""The pages."""

import json
from decimal import Decimal

from django.db import transaction
from django.http import HttpResponseBadRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from shop.celery import ctx

from reports import tasks
from reports.models import Report


@csrf_exempt
def ask(request):
    """Make a report and set its agents going, once it is in the database."""
    wanted = json.loads(request.body)
    try:
        with transaction.atomic():
            report = Report.objects.create(quarter=wanted["quarter"])
            workflow = ctx.workflow(f"report-{report.pk}", agent_id="site")
            workflow.open()
            with workflow:
                tasks.calculate.delay_on_commit(report.pk)
                tasks.extract.delay_on_commit(wanted["amounts"])
            float(wanted["amounts"][0])  # what is no number rolls it all back
    except ValueError as error:
        return HttpResponseBadRequest(str(error))
    return JsonResponse({"report": report.pk, "workflow": workflow.workflow_id})


def show(request, report_id):
    """Show a report, and with ?rate= give the agents what they still wait for."""
    if "rate" in request.GET:
        ctx.enqueue_update(f"report-{report_id}", "site", {"exchange_rates": {"USD": Decimal(request.GET["rate"])}})
    return JsonResponse({"total": Report.objects.get(pk=report_id).total})
