"""Tasks whose spans go to files, one for each process: as an app's own exporter would take them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from ctxqueue import all_of
from tests.integration.apps.common import queue_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan

    from ctxqueue.integration.install import ContextQueue

FOLDER = "SPANS"


def line_of(span: ReadableSpan) -> str:
    """Return a span as a line of JSON."""
    return f"{span.to_json(indent=None)}\n"


def export(**_signal: object) -> None:
    """Let this process's spans go to a file of its own, as each ends."""
    out = Path(os.environ[FOLDER], f"{os.getpid()}.jsonl").open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - until the end
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out, formatter=line_of)))
    trace.set_tracer_provider(provider)


worker_process_init.connect(export, weak=False)


def build(settings: Mapping[str, Any]) -> ContextQueue:
    """Return ctxqueue in the app."""
    ctx = queue_of("traced", settings)

    @ctx.task(name="extract", agent_type="extractor")
    def extract(self: Any, what: str) -> None:
        self.context.update({"canary_revenue": what, "canary_api_key": what})

    @ctx.task(name="calculate", agent_type="analyst", needs=all_of("canary_revenue", "rates"))
    def calculate(self: Any) -> str:
        self.context.put("calculated", self.context["canary_revenue"])
        return "calculated"

    @ctx.task(name="triggered", agent_type="analyst")
    def triggered(self: Any, what: str) -> None:
        self.context.put("canary_done", what)
        self.context.put("canary_done", what, expected_version=9)

    return ctx
