"""A server, a worker, beat and Flower in one terminal, until Ctrl-C.

``python -m workers.up --port 5555 --redis-url redis://... --job``
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ctxqueue.errors import ConfigurationError, StoreError
from ctxqueue.testing.servers import EmbeddedServer
from workers.services import ServiceEndedError, services
from workers.stopping import heed_signals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from workers.services import Service

FLOWER_PORT = 5555
POLL_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal comes: 130 after Ctrl-C, 1 if a process ended by itself, 2 for no usable server or port."""
    options = _parser().parse_args(arguments)
    heed_signals()
    try:
        _up(options.redis_url, options.port, job=options.job)
    except KeyboardInterrupt:
        print("\nstopped; everything that was started here has been ended", file=sys.stderr)
        return 130
    except ServiceEndedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (StoreError, ConfigurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev up", description=__doc__.splitlines()[0])
    parser.add_argument("--redis-url", metavar="URL", help="your server (default: one started for this)")
    parser.add_argument(
        "--port", type=int, default=FLOWER_PORT, help=f"Flower's, on 127.0.0.1 (default: {FLOWER_PORT})"
    )
    parser.add_argument("--job", action="store_true", help="publish the main job on the sample at once")
    return parser


def _up(redis_url: str | None, port: int, *, job: bool) -> None:
    with ExitStack() as stack:
        url = redis_url or stack.enter_context(EmbeddedServer(appendonly=True)).url()
        os.environ.update({"CTXQUEUE_BACKEND_URL": url, "CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url})
        # Flower listens on this machine only, where whoever asks may know.
        os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "true")
        _check_port(port)
        # Imported only now: the app reads the environment.
        from workers.app import ctx  # noqa: PLC0415

        ctx.manager.store.verify()
        running = stack.enter_context(services(flower_port=port))
        print(f"store, broker, results: {url}", f"Flower:                 http://127.0.0.1:{port}", sep="\n")
        print(
            f"in another terminal:    CTXQUEUE_BACKEND_URL={url} ./dev shell",
            "stop with Ctrl-C\n",
            sep="\n",
            flush=True,
        )
        if job:
            stack.enter_context(_published())
        _follow(stack, running)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"port {port} cannot be Flower's ({error}): name another one with --port"
            ) from error


def _published() -> ExitStack:
    """Publish the main job; what it needs of the file system goes when this ends."""
    import tempfile  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    from workers import consolidate  # noqa: PLC0415
    from workers.run import SAMPLE  # noqa: PLC0415

    kept = ExitStack()
    output = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="ctxqueue-job-")))
    workflow_id = f"consolidation-{secrets.token_hex(4)}"
    consolidate.start(workflow_id, SAMPLE, output, consolidate.plan(SAMPLE))
    print(f"published: workflow {workflow_id}, report in {output} until this ends\n", flush=True)
    return kept


def _follow(stack: ExitStack, running: Sequence[Service]) -> None:
    """Show what the processes log, until one of them ends; raises ServiceEndedError."""
    logs = [(service, stack.enter_context(service.log.open(errors="replace"))) for service in running]
    while True:
        for service, log in logs:
            _show(service, log)
            service.check()
        running[0].wait_for_end(POLL_SECONDS)


def _show(service: Service, log: TextIO) -> None:
    for line in log.read().splitlines():
        print(f"{service.name:6} | {line}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
