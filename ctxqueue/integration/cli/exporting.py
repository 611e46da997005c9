"""A page for Prometheus on what stands in the store: ``exporter``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from ctxqueue.errors import ConfigurationError
from ctxqueue.integration.cli.arguments import Seconds
from ctxqueue.integration.cli.commands import Told, command

if TYPE_CHECKING:
    from ctxqueue.integration.install import ContextQueue


@command("exporter", example="celery -A proj ctx exporter --port 9809")
@click.option("--port", type=click.IntRange(0, 65_535), default=9_809, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--survey", type=Seconds(1), default=60.0, show_default=True, help="Seconds between surveys.")
def exporter(queue: ContextQueue, *, port: int, host: str, survey: float) -> None:
    """Serve what stands in the store to Prometheus, until it is stopped; one is enough for a namespace.

    What is overdue is looked at whenever it asks. Totals take going through all workflows: every --survey seconds, or
    less often where that takes long.
    """
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - of an extra

        from ctxqueue.observability import exporting, serving  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ConfigurationError("the exporter needs prometheus-client: pip install 'ctxqueue[metrics]'") from error
    queue.manager.store.verify()
    registry = CollectorRegistry()
    collector = exporting.StoreCollector(queue.manager, survey)
    registry.register(collector)
    try:
        page = serving.serve(registry, port, host)
    except OSError as error:
        raise Told(f"cannot listen on {host}:{port}: {error}") from error
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_given: stopped.set())
    collector.start()
    click.echo(f"http://{host}:{page.port}/metrics")
    stopped.wait()
    collector.stop()
    page.close()


COMMANDS = {"exporter": exporter}
