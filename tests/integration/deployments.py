"""A sample app at work: a server of its own, this process's side of the app, and the Celery processes of the other."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import urllib.request
import uuid
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from kombu import pools

from ctxqueue.stores.redis.keys import workflow_keys
from ctxqueue.testing import EmbeddedServer
from ctxqueue.testing.processes import KeptProcess
from tests.waiting import SECONDS, wait_until

if TYPE_CHECKING:
    from celery import Celery

    from ctxqueue.context import WorkflowHandle
    from ctxqueue.integration.install import ContextQueue

ROOT = Path(__file__).parents[2]
QUEUE, ASIDE = "celery", "aside"
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
ANSWER_SECONDS = 2.0

_numbers = itertools.count(1)


def forget_pools(app: Celery) -> None:
    """Close an app's pools. kombu keeps them by address, and the next server may get this one's port."""
    ours = app.amqp.producer_pool, app.pool
    for pool in ours:
        pool.force_close_all()
    for group in (pools.producers, pools.connections):
        for key in [key for key, pool in group.items() if pool in ours]:
            dict.__delitem__(group, key)  # its own would look for the key of the key


class Deployment:
    """One sample app on a server of its own; ``close()`` ends everything that was started here."""

    def __init__(
        self, sample: str, folder: Path, settings: dict[str, Any], server: EmbeddedServer | None = None
    ) -> None:
        """Build the app of ``tests.integration.apps.<sample>``; URLs that ``settings`` leaves out are the server's."""
        self.folder = folder
        self.server = (server or EmbeddedServer()).start()
        self.url = self.server.url()
        urls = {"broker_url": self.url, "result_backend": self.url, "sample_url": self.url}
        self.settings = {**urls, **settings}
        self.module = f"tests.integration.apps.{sample}"
        self.queue: ContextQueue = import_module(self.module).build(self.settings)
        self.app = self.queue.app
        self.app.set_current()  # type: ignore[no-untyped-call]
        self.redis = redis.Redis.from_url(self.url)
        self._processes: list[KeptProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def task(self, name: str) -> Any:
        """Return a task of the app."""
        return self.app.tasks[name]

    def workflow(self, name: str = "w") -> WorkflowHandle:
        """Open a workflow that no other test has."""
        handle = self.queue.workflow(f"{name}-{next(_numbers)}")
        handle.open()
        return handle

    def notes(self, name: str) -> list[Any]:
        """Return what tasks have left under a name, in order."""
        return [json.loads(what) for what in self.redis.lrange(f"notes:{name}", 0, -1)]

    def parked(self, workflow: WorkflowHandle) -> list[str]:
        """Return the runs that the store has parked in a workflow."""
        keys = workflow_keys(self.queue.manager.terms.namespace, workflow.workflow_id)
        return [field[2:].decode() for field in self.redis.hkeys(keys.t) if field.startswith(b"c:")]

    def records(self, workflow: WorkflowHandle) -> list[dict[str, bytes]]:
        """Return the records of the runs in a workflow, fields as claim.lua names them."""
        keys = workflow_keys(self.queue.manager.terms.namespace, workflow.workflow_id)
        runs = self.redis.scan_iter(keys.run("*").replace("%2A", "*"), count=1_000)
        records = [{name.decode(): value for name, value in self.redis.hgetall(run).items()} for run in runs]
        return [record for record in records if "s" in record]

    def clock(self) -> float:
        """Return the server's time, in seconds."""
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6

    def intercepted(self, signature: Any) -> bytes:
        """Publish to a queue that no worker reads; return the message, to be delivered as often as wanted."""
        signature.apply_async(queue=ASIDE)
        (message,) = self.all_intercepted()
        return message

    def all_intercepted(self, queue: str = ASIDE) -> list[bytes]:
        """Return the messages that were published to a queue that no worker reads, in order."""
        messages = []
        while raw := self.redis.rpop(queue):
            fields = json.loads(raw)
            fields["properties"]["delivery_info"]["routing_key"] = QUEUE
            messages.append(json.dumps(fields).encode())
        return messages

    def deliver(self, message: bytes, *, under_a_new_tag: bool = False) -> str:
        """Put a message into the queue that the workers read, as the broker does a restored one; return its task id.

        Under the same tag one delivery's acknowledgement is the other's too, as with a restored message.
        """
        fields = json.loads(message)
        if under_a_new_tag:
            fields["properties"]["delivery_tag"] = str(uuid.uuid4())
        self.redis.lpush(QUEUE, json.dumps(fields))
        return str(fields["headers"]["id"])

    def forget_result(self, task_id: str) -> None:
        """Remove a task's result from the backend."""
        self.redis.delete(f"celery-task-meta-{task_id}")

    def stored_anew(self, task_id: str) -> Any:
        """Return the result, or the error, that is stored after the first was forgotten.

        ``get()`` might answer with the first one: the backend's message of it may still be on its way here.
        """
        wait_until(lambda: self.redis.exists(f"celery-task-meta-{task_id}"), f"a result of {task_id} is stored")
        return self.app.AsyncResult(task_id).result

    def waiting_messages(self) -> list[dict[str, Any]]:
        """Return the messages in the queue that the workers read, the oldest first."""
        return [json.loads(message) for message in reversed(self.redis.lrange(QUEUE, 0, -1))]

    def queued(self) -> dict[str, int]:
        """Return how many messages the broker holds: in its queues, and taken by workers but not acknowledged."""
        lists = list(self.redis.scan_iter("celery*", count=1_000, _type="list"))
        return {
            "queue": sum(self.redis.llen(name) for name in lists),
            "unacked": self.redis.hlen("unacked"),
            "unacked_index": self.redis.zcard("unacked_index"),
        }

    def until_held(self, name: str, times: int = 1) -> None:
        """Wait until that many tasks have been held under the name."""
        wait_until(lambda: len(self.notes(f"held:{name}")) >= times, f"{times} tasks are held as {name}")

    def let_go(self, name: str, times: int = 1) -> None:
        """Let that many tasks go on that are held under the name, now or later."""
        self.redis.rpush(f"go:{name}", *["1"] * times)

    def worker(
        self, *options: str, slots: int = 2, pool: str = "prefork", flags: tuple[str, ...] = QUIET, **settings: Any
    ) -> KeptProcess:
        """Start a worker, with settings of its own laid over the app's, and return once it answers."""
        name, process = self.starting_worker(*options, slots=slots, pool=pool, flags=flags, **settings)

        def answers() -> bool:
            if process.ended.is_set():
                raise RuntimeError(f"{name} ended:\n{self.log()}")
            return bool(self.app.control.inspect([name], timeout=ANSWER_SECONDS, limit=1).ping())

        wait_until(answers, f"{name} answers")
        return process

    def starting_worker(
        self, *options: str, slots: int = 2, pool: str = "prefork", flags: tuple[str, ...] = QUIET, **settings: Any
    ) -> tuple[str, KeptProcess]:
        """Start a worker as `worker` does; return its name and process, without waiting for it."""
        name = f"worker{next(_numbers)}@here"
        arguments = ["worker", "-n", name, "-P", pool, "-c", str(slots), "-l", "info", *flags, *options]
        return name, self._celery(arguments, settings)

    def stop(self, process: KeptProcess, signal_number: int = signal.SIGTERM) -> None:
        """End a process and wait until it has ended."""
        process.send(signal_number)
        assert process.ended.wait(SECONDS), "the process does not end"

    def flower(self) -> str:
        """Start Flower, and return its address once it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = self._celery(
            ["flower", "--address=127.0.0.1", f"--port={port}"], {}, {"FLOWER_UNAUTHENTICATED_API": "true"}
        )
        address = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            if process.ended.is_set():
                raise RuntimeError(f"Flower ended:\n{self.log()}")
            try:
                with urllib.request.urlopen(f"{address}/healthcheck", timeout=ANSWER_SECONDS):  # noqa: S310 - its own
                    return True
            except OSError:
                return False

        wait_until(answers, "Flower answers")
        return address

    def beat(self, *options: str, **settings: Any) -> KeptProcess:
        """Start a beat, with the default scheduler unless the options name one."""
        schedule = self.folder / f"schedule{next(_numbers)}"
        return self._celery(["beat", "-s", str(schedule), "-l", "info", *options], settings)

    def log(self) -> str:
        """Return what all processes have written."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        """End the processes, let go of connections, end the server."""
        for process in self._processes:
            process.send(signal.SIGKILL)
        for process in self._processes:
            process.ended.wait(SECONDS)
        consumer = getattr(self.app.backend, "result_consumer", None)
        if consumer is not None:
            consumer.stop()
            consumer.cancel_for = str  # a result that is forgotten later would tell a server that is gone
            if hasattr(self.app.backend, "client"):  # it is not the broker
                self.app.backend.client.close()
        forget_pools(self.app)
        self.app.close()
        self.queue.manager.close()
        self.redis.close()
        self.server.close()

    def _celery(
        self, arguments: list[str], settings: dict[str, Any], variables: dict[str, str] | None = None
    ) -> KeptProcess:
        environment = {
            **os.environ,
            **(variables or {}),
            "SAMPLE_APP": self.module,
            "SAMPLE_SETTINGS": json.dumps({**self.settings, **settings}),
        }
        command = [sys.executable, "-m", "celery", "-A", "tests.integration.apps.entry", *arguments]
        log = self.folder / f"{len(self._processes)}-{arguments[0]}.log"
        process = KeptProcess(command, log, cwd=ROOT, env=environment)
        self._processes.append(process)
        return process
