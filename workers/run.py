"""The main job from one command: starts what it needs, runs the job, says what happened, and stops all it started.

``python -m workers.run --input revenue.csv --output out/ --redis-url redis://...``
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ctxqueue.errors import ConfigurationError, CtxqueueError, StoreError
from ctxqueue.testing.processes import KeptProcess
from ctxqueue.testing.servers import EmbeddedServer
from workers.revenue import RevenueFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "workers" / "sample" / "revenue.csv"
POLL_SECONDS = 0.1
SHUTDOWN_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; return the exit status: 0, 1 if it failed, 2 for bad input, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    # SIGINT too: a script's background job inherits it ignored, and then Python leaves it so.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, _interrupt)
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
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="SECONDS", help="give up after this long")
    return parser


def _interrupt(*_signal: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(source: Path, output: Path, redis_url: str | None, timeout: float) -> int:
    run_id = secrets.token_hex(4)
    with ExitStack() as stack:
        if redis_url and not redis_url.startswith(("redis://", "rediss://")):
            raise ConfigurationError("--redis-url must begin with redis:// or rediss://")
        url = redis_url or stack.enter_context(EmbeddedServer()).url()
        _configure(url, run_id)
        # Imported only now: the app reads the environment.
        from workers import consolidate  # noqa: PLC0415
        from workers.app import app, ctx  # noqa: PLC0415

        parts = consolidate.plan(source)
        ctx.manager.store.verify()
        output.mkdir(parents=True, exist_ok=True)
        if redis_url:
            stack.callback(_remove_keys, app, run_id)
        logs = stack.enter_context(_logs())
        stack.enter_context(_process(logs / "worker.log", "workers.worker"))
        stack.enter_context(_process(logs / "beat.log", "workers.beat", f"--schedule={logs / 'beat'}", "--pidfile="))
        print(f"{source}: {len(parts)} parts; store: {ctx.manager.store.where}; a worker with two processes, and beat")
        stack.callback(_let_go_of_results, app)
        steps = consolidate.start(f"consolidation-{run_id}", source, output, parts)
        _follow(steps, timeout, logs / "worker.log")
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


def _follow(steps: Sequence[Any], timeout: float, log: Path) -> None:
    from workers.progress import Progress, RunFailedError  # noqa: PLC0415

    progress = Progress(steps)
    pause = threading.Event()
    for _ in range(max(1, int(timeout / POLL_SECONDS))):
        try:
            if progress.look():
                print(f"\n{progress.table()}")
                return
        except RunFailedError as failure:
            raise RunFailedError(f"{failure}\nthe end of the worker's log:\n{_tail(log)}") from None
        pause.wait(POLL_SECONDS)
    raise RunFailedError(f"not done after {timeout:.0f} s: {progress.waiting()}\n{_tail(log)}")


@contextmanager
def _process(log: Path, module: str, *arguments: str) -> Iterator[KeptProcess]:
    process = KeptProcess([sys.executable, "-P", "-m", module, *arguments], log, cwd=ROOT)
    try:
        yield process
    finally:
        process.end(grace=SHUTDOWN_SECONDS)


@contextmanager
def _logs() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ctxqueue-run-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _let_go_of_results(app: Any) -> None:
    """Stop listening for results while their server is there: a result that is dropped later would look for it."""
    consumer = app.backend.result_consumer
    consumer.stop()
    consumer.subscribed_to.clear()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _remove_keys(app: Any, run_id: str) -> None:
    """Remove what this run left on the user's server; all of it has the run's id in front."""
    client = app.backend.client
    for pattern in (f"revenue-{run_id}:*", f"{{revenue-{run_id}*"):
        for key in client.scan_iter(match=pattern, count=1_000):
            client.unlink(key)


if __name__ == "__main__":
    sys.exit(main())
