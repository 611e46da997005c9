"""The main job from one command: starts what it needs, runs the job, says what happened, and stops all it started.

``python -m workers.run --input revenue.csv --output out/ --redis-url redis://...``
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from ctxqueue.errors import ConfigurationError, CtxqueueError, StoreError, StoreUnavailable
from ctxqueue.stores.redis.checks import translated
from ctxqueue.testing.servers import EmbeddedServer
from workers.progress import Progress, RunFailedError
from workers.revenue import RevenueFileError
from workers.services import services
from workers.stopping import heed_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from workers.services import Service

SAMPLE = Path(__file__).resolve().parent / "sample" / "revenue.csv"
POLL_SECONDS = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; return the exit status: 0, 1 if it failed, 2 for bad input or no usable server, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    heed_signals()
    try:
        return _run(options.input.resolve(), options.output.resolve(), options.redis_url, options.timeout)
    except KeyboardInterrupt:
        print("stopped; everything that was started here has been ended", file=sys.stderr)
        return 130
    except (RevenueFileError, ValueError, StoreError, ConfigurationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (CtxqueueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev run", description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, default=SAMPLE, metavar="CSV", help="date,entity,amount,currency")
    parser.add_argument("--output", type=Path, default=Path("out"), metavar="DIR", help="default: out")
    parser.add_argument("--redis-url", metavar="URL", help="your server; only keys of this run are touched there")
    parser.add_argument("--timeout", type=_seconds, default=1800.0, metavar="SECONDS", help="give up after this long")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _run(source: Path, output: Path, redis_url: str | None, timeout: float) -> int:
    run_id = secrets.token_hex(4)
    with ExitStack() as stack:
        if redis_url is not None and not redis_url.startswith(("redis://", "rediss://")):
            raise ConfigurationError("--redis-url must begin with redis:// or rediss://")
        url = redis_url or stack.enter_context(EmbeddedServer()).url()
        _configure(url, run_id)
        # Imported only now: the app reads the environment.
        from workers import consolidate  # noqa: PLC0415
        from workers.app import app, ctx  # noqa: PLC0415

        parts = consolidate.plan(source)
        store = ctx.manager.store
        store.verify()
        stack.enter_context(_server_errors(store.where))
        if redis_url:
            stack.callback(_remove_keys, app, run_id)
        _make_writable(output)
        worker, beat = stack.enter_context(services())
        what = "the illustrative sample" if source == SAMPLE else source
        print(f"{what}: {len(parts)} parts; store: {store.where}; a worker with two processes, and beat", flush=True)
        stack.callback(_let_go_of_results, app)
        steps = consolidate.start(f"consolidation-{run_id}", source, output, parts)
        _follow(steps, timeout, worker, beat)
    print(f"\nreport: {output / 'report.md'}\nchart:  {output / 'chart.svg'}\nskipped rows: {output / 'skipped.csv'}")
    return 0


def _configure(url: str, run_id: str) -> None:
    """Give this run a store, a broker and a result backend of its own, whatever else the server holds."""
    os.environ.update(
        {
            "CTXQUEUE_BACKEND_URL": url,
            "CELERY_BROKER_URL": url,
            "CELERY_RESULT_BACKEND": url,
            "CTXQUEUE_NAMESPACE": f"revenue-{run_id}",
            "CELERY_KEY_PREFIX": f"revenue-{run_id}:",
            "CTXQUEUE_SWEEP_INTERVAL": "2",
        }
    )


def _make_writable(output: Path) -> None:
    """Make the directory, and find out now whether a report can be written there, not when all is worked out."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {output}: {error.strerror or error}; name a directory for the report with --output"
        ) from error


@contextmanager
def _server_errors(where: str) -> Iterator[None]:
    """Say in our words what Celery and its result backend say in their clients' when the server has gone."""
    try:
        with translated(where):
            yield
    except OperationalError as error:
        raise StoreUnavailable(f"the broker at {where} does not answer ({error}): is it still running?") from error


def _follow(steps: Sequence[Any], timeout: float, worker: Service, beat: Service) -> None:
    """Return when every task has ended; raises RunFailedError."""
    progress = Progress(steps)
    try:
        for _ in range(max(1, int(timeout / POLL_SECONDS))):
            if progress.look():
                print(f"\n{progress.table()}")
                return
            worker.wait_for_end(POLL_SECONDS)
            worker.check()
            beat.check()
    except RunFailedError as failure:
        raise RunFailedError(f"{failure}\n{worker.end_of_log()}") from None
    raise RunFailedError(f"not done after {timeout:g} s: {progress.waiting()}\n{worker.end_of_log()}")


def _let_go_of_results(app: Any) -> None:
    """Stop listening for results while their server is there: a result that is dropped later would look for it."""
    consumer = app.backend.result_consumer
    consumer.stop()
    consumer.subscribed_to.clear()


def _remove_keys(app: Any, run_id: str) -> None:
    """Remove what this run left on the user's server; all of it has the run's id in front."""
    client = app.backend.client
    for pattern in (f"revenue-{run_id}:*", f"{{revenue-{run_id}*"):
        for key in client.scan_iter(match=pattern, count=1_000):
            client.unlink(key)


if __name__ == "__main__":
    sys.exit(main())
