"""What of an app or its servers would break a guarantee: pure rules, from how things are set to findings.

One list of rules that have nothing to do with each other, so its length is that of the list.
"""

from __future__ import annotations

from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ctxqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Severity = Literal["error", "warning"]

OURS = "ctxq"
"""As much of the beginning of a setting's name as hardly anybody misspells."""
SETTINGS = (
    *(f"ctxqueue_{field.name}" for field in msgspec.structs.fields(Settings)),
    "ctxqueue_backend_url",
    "ctxqueue_embedder",
    "ctxqueue_keyring",
    "ctxqueue_memory_archive",
    "ctxqueue_memory_index_from",
    "ctxqueue_memory_retention",
    "ctxqueue_memory_summariser",
    "ctxqueue_memory_supersede_above",
    "ctxqueue_memory_weights",
    "ctxqueue_memory_worth_keeping",
    "ctxqueue_metrics",
    "ctxqueue_metrics_host",
    "ctxqueue_metrics_port",
    "ctxqueue_namespace",
    "ctxqueue_note_reads",
    "ctxqueue_policy",
    "ctxqueue_signing_keys",
    "ctxqueue_trace_keys",
    "ctxqueue_tracing",
)
"""All that are read; a test goes through the code for others."""
OLDEST = {"celery": (5, 6), "kombu": (5, 6), "redis": (6, 4)}
REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
BROKER_DEFAULT_VISIBILITY = 3600.0
LONG_TIMEOUT = 30.0
"""Seconds without an answer after which a failover is a stall."""
RESTORE_SECONDS = 30.0
KOMBUS_MUTEX_EXPIRE = 300.0
MUTEX_SECONDS = 60.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that is set up so that something can go wrong."""

    severity: Severity
    about: str
    """The setting, task or server."""
    risk: str
    """What can happen."""
    mend: str
    """What to set."""


class TaskSetup(msgspec.Struct, frozen=True, kw_only=True):
    """One registered task, as far as the rules go by it."""

    name: str
    is_agent: bool = False
    time_limit: float | None = None
    retry_delay: float = 0.0
    """The longest that one of its retries waits, as it is declared."""
    priority: int | None = None
    needs_timeout: float | None = None
    """Of one that can be parked."""
    acks_late: bool = True
    reject_on_worker_lost: bool = True
    is_claimed: bool = False
    retry_on_worker_lost: bool = False


class ServerSetup(msgspec.Struct, frozen=True, kw_only=True):
    """One server that was asked."""

    role: str
    where: str
    policy: str = "noeviction"
    appendonly: bool = True
    error: str = ""
    """Why it could not be asked."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the rules look at."""

    conf: Mapping[str, Any]
    broker: str = "redis"
    """Schemes of the URLs."""
    backend: str = "redis"
    store: str = "redis"
    asks_anew: bool = True
    """Whether a backend behind Sentinels asks them at every try."""
    tasks: tuple[TaskSetup, ...] = ()
    countdowns: Mapping[str, float] = {}
    """Of beat entries, in seconds."""
    servers: tuple[ServerSetup, ...] = ()
    versions: Mapping[str, str] = {}

    def option(self, name: str) -> Any:
        """Return one of the broker's transport options."""
        return (self.conf.get("broker_transport_options") or {}).get(name)

    @property
    def visibility(self) -> float:
        """Seconds after which an unacknowledged message is delivered again."""
        return float(self.option("visibility_timeout") or BROKER_DEFAULT_VISIBILITY)


def findings(setup: Setup) -> list[Finding]:
    """Return what all rules object to, errors first."""
    found = [finding for rule in RULES for finding in rule(setup)]
    return sorted(found, key=lambda finding: finding.severity)


def settings_have_names_that_are_read(setup: Setup) -> Iterator[Finding]:
    """Look for settings that nothing reads: misspelt, or without the prefix of the app's configuration."""
    prefix = getattr(setup.conf, "prefix", None) or ""
    named = {name.partition("_")[2]: prefix + (name.upper() if prefix.isupper() else name) for name in SETTINGS}
    for given in setup.conf:
        name = given.lower().removeprefix(prefix.lower()) if isinstance(given, str) else ""
        if not name.startswith(OURS) or given in SETTINGS or given in named.values():
            continue
        meant = "".join(named[tail] for tail in get_close_matches(name.partition("_")[2], named, 1))
        mend = f"{meant}, if that was meant" if meant else "leave it out: docs/settings.md has those that are read"
        yield Finding("error", given, "nothing reads a setting of this name: it is as if it were not there", mend)


def versions_are_supported(setup: Setup) -> Iterator[Finding]:
    """Look at the libraries."""
    for name, version in setup.versions.items():
        oldest = OLDEST.get(name)
        if oldest and tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < oldest:
            needed = ".".join(map(str, oldest))
            risk = f"version {version} lacks what ctxqueue goes by: tasks can be lost or run twice"
            yield Finding("error", name, risk, f"pip install '{name}>={needed}'")


def servers_keep_what_they_are_given(setup: Setup) -> Iterator[Finding]:
    """Look at eviction and persistence."""
    for server in setup.servers:
        about = f"{server.role} at {server.where}"
        if server.error:
            yield Finding("error", about, server.error, "start it, mend the URL, or let its user run INFO")
            continue
        if server.policy != "noeviction":
            yield Finding(
                "error",
                about,
                f"maxmemory-policy {server.policy} drops keys when memory is short: messages, results or updates go",
                "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
            )
        if not server.appendonly:
            yield Finding(
                "warning",
                about,
                "a restart loses all that was written since its last snapshot",
                "appendonly yes and appendfsync everysec in its configuration file",
            )


def the_store_is_shared(setup: Setup) -> Iterator[Finding]:
    """Look for a store that each process has for itself."""
    if setup.store == "memory" and not setup.conf.get("task_always_eager"):
        yield Finding(
            "error",
            "ctxqueue_backend_url",
            "memory:// is one process's own: a worker does not see what another one writes",
            "ctxqueue_backend_url = 'redis://...'",
        )


def no_task_outlives_the_visibility_timeout(setup: Setup) -> Iterator[Finding]:
    """Look for tasks that are delivered again while they run."""
    if setup.broker not in REDIS_SCHEMES:
        return
    least = setup.visibility
    default = _seconds(setup.conf.get("task_time_limit"))
    limits = {task.name: task.time_limit or default for task in setup.tasks}
    unlimited = sorted(name for name, limit in limits.items() if not limit)
    if unlimited:
        yield Finding(
            "warning",
            f"time limit of {_some(unlimited)}",
            f"it may run for longer than the visibility timeout ({least:g} s), and is then delivered again",
            f"task_time_limit below {least:g}, and task_soft_time_limit below that",
        )
    longest = max(limits, key=lambda name: limits[name] or 0.0, default="")
    limit = limits.get(longest) or 0.0
    waiting = int(setup.conf.get("worker_prefetch_multiplier") or 0) or 1
    if limit >= least:
        yield Finding(
            "error",
            "broker_transport_options['visibility_timeout']",
            f"{longest} may run {limit:g} s: after {least:g} s its message is delivered again while it runs",
            f"a visibility_timeout above {2 * limit:g}, the same in every process that uses the broker",
        )
    elif limit * waiting >= least:
        yield Finding(
            "warning",
            "worker_prefetch_multiplier",
            f"a message may wait behind {waiting - 1} tasks of up to {limit:g} s: after {least:g} s it comes again",
            "worker_prefetch_multiplier = 1",
        )


def a_task_can_be_published(setup: Setup) -> Iterator[Finding]:
    """Look for limits with which Celery refuses every message."""
    soft, hard = _seconds(setup.conf.get("task_soft_time_limit")), _seconds(setup.conf.get("task_time_limit"))
    if soft and hard and soft > hard:
        yield Finding(
            "error",
            "task_soft_time_limit",
            f"it is {soft:g} s, above the task_time_limit of {hard:g} s: Celery publishes no task so (ValueError)",
            f"task_soft_time_limit = {0.9 * hard:g}",
        )


def no_countdown_outlives_the_visibility_timeout(setup: Setup) -> Iterator[Finding]:
    """Look for messages that wait in a worker for longer than the broker lets them."""
    if setup.broker not in REDIS_SCHEMES:
        return
    delays: dict[tuple[str, float], list[str]] = {}
    for task in setup.tasks:
        delays.setdefault(("retry delay of", task.retry_delay), []).append(task.name)
    for name, seconds in setup.countdowns.items():
        delays.setdefault(("countdown of the beat entry", seconds), []).append(name)
    for (what, seconds), names in delays.items():
        if seconds >= setup.visibility:
            yield Finding(
                "error",
                f"{what} {_some(names)}",
                f"{seconds:g} s is beyond the visibility timeout ({setup.visibility:g} s): the task runs several times",
                "a shorter delay (default_retry_delay, retry_backoff_max), a longer visibility_timeout, or a task that"
                " waits for a key",
            )


def a_priority_means_what_it_says(setup: Setup) -> Iterator[Finding]:
    """Look for priorities where the broker turns them round."""
    named = [f"priority of {task.name}" for task in setup.tasks if task.priority is not None]
    wanted = [name for name in ("task_default_priority", "task_queue_max_priority") if setup.conf.get(name) is not None]
    if setup.broker in REDIS_SCHEMES and (about := wanted[:1] or named[:1]):
        yield Finding(
            "warning",
            about[0],
            "on Redis 0 is the highest priority and 9 the lowest, other than on RabbitMQ, and there are four steps",
            "queues of their own for what is urgent (task_routes), each with its workers",
        )


def the_broker_is_one_that_celery_knows(setup: Setup) -> Iterator[Finding]:
    """Look for a Redis Cluster, which only the store may be on."""
    if setup.broker.endswith("+cluster"):
        yield Finding(
            "error",
            "broker_url",
            "kombu has no transport for a Redis Cluster: no message gets anywhere",
            "broker_url = 'redis://...' or 'sentinel://...', and ctxqueue_backend_url for the cluster",
        )


def messages_do_not_wait_behind_long_ones(setup: Setup) -> Iterator[Finding]:
    """Look at the prefetch multiplier."""
    multiplier = setup.conf.get("worker_prefetch_multiplier")
    if multiplier == 1:
        return
    taken = "every message" if not multiplier else f"{multiplier} messages a process"
    yield Finding(
        "warning",
        "worker_prefetch_multiplier",
        f"a worker takes {taken}: one waits behind a long task while other workers are idle",
        "worker_prefetch_multiplier = 1",
    )


def connections_notice_a_dead_server(setup: Setup) -> Iterator[Finding]:
    """Look at socket timeouts of broker and backend; each reads its own."""
    places = []
    if setup.broker in REDIS_SCHEMES:
        places += [
            (f"broker_transport_options['{name}']", setup.option(name), setup.broker, seconds)
            for name, seconds in (("socket_timeout", 3), ("socket_connect_timeout", 1))
        ]
    if setup.backend in REDIS_SCHEMES:
        places += [
            (name, setup.conf.get(name), setup.backend, seconds)
            for name, seconds in (("redis_socket_timeout", 3), ("redis_socket_connect_timeout", 1))
        ]
    for about, given, scheme, wanted in places:
        if given is None or float(given) > LONG_TIMEOUT:
            yield Finding(
                "error" if scheme == "sentinel" else "warning",
                about,
                f"{'none' if given is None else f'{given:g} s'}: publishers and workers hang on a server that has"
                " stopped answering, and may never come back after a failover",
                f"{about} = {wanted}",
            )


def results_are_stored_again(setup: Setup) -> Iterator[Finding]:
    """Look at what becomes of a result while the backend is away."""
    if setup.backend in REDIS_SCHEMES and not setup.conf.get("result_backend_always_retry"):
        yield Finding(
            "error" if setup.backend == "sentinel" else "warning",
            "result_backend_always_retry",
            "a task that has done its work is recorded as FAILURE if the backend is away for the moment of a failover",
            "result_backend_always_retry = True and result_backend_max_retries = 60",
        )


def idle_connections_are_looked_after(setup: Setup) -> Iterator[Finding]:
    """Look at the health checks."""
    places = []
    if setup.broker in REDIS_SCHEMES:
        name = "broker_transport_options['health_check_interval']"
        places.append((name, setup.option("health_check_interval")))
    if setup.backend in REDIS_SCHEMES:
        name = "redis_backend_health_check_interval"
        places.append((name, setup.conf.get(name)))
    for about, given in places:
        if not given or float(given) > LONG_TIMEOUT:
            risk = "a connection that a firewall or failover has cut is found out by the first call that fails"
            yield Finding("warning", about, risk, f"{about} = 2")


def a_dead_workers_messages_come_back_soon(setup: Setup) -> Iterator[Finding]:
    """Look at how often the broker's unacknowledged messages are looked through."""
    if setup.broker not in REDIS_SCHEMES:
        return
    interval, throttle = (setup.option(f"unacked_restore_{name}") or 10 for name in ("interval", "throttle"))
    pause = float(interval) * float(throttle)
    if pause > RESTORE_SECONDS:
        yield Finding(
            "warning",
            "broker_transport_options['unacked_restore_throttle']",
            f"overdue messages are looked for every {pause:g} s",
            "unacked_restore_interval = 10 and unacked_restore_throttle = 1",
        )
    expires = float(setup.option("unacked_mutex_expire") or KOMBUS_MUTEX_EXPIRE)
    if expires > MUTEX_SECONDS:
        yield Finding(
            "warning",
            "broker_transport_options['unacked_mutex_expire']",
            f"a worker that is killed while it looks for overdue messages keeps the others from it for {expires:g} s",
            "unacked_mutex_expire = 30",
        )


def a_stopped_worker_gives_its_messages_back(setup: Setup) -> Iterator[Finding]:
    """Look at the soft shutdown."""
    if not setup.conf.get("worker_soft_shutdown_timeout"):
        yield Finding(
            "warning",
            "worker_soft_shutdown_timeout",
            "a worker that is told to stop at once leaves its messages out until the visibility timeout",
            "worker_soft_shutdown_timeout = 10, REMAP_SIGTERM=SIGQUIT in its environment, and a longer grace period",
        )


def a_chord_outlives_its_parked_members(setup: Setup) -> Iterator[Finding]:
    """Look at how long results are kept against how long tasks wait."""
    given = setup.conf.get("result_expires")
    kept = _seconds(given)
    settings_default = setup.conf.get("ctxqueue_needs_timeout") or Settings().needs_timeout
    waits = {task.name: task.needs_timeout for task in setup.tasks if task.needs_timeout is not None}
    name = max(waits, key=lambda task: waits[task], default="")
    longest = waits.get(name, float(settings_default))
    if given is not None and kept and kept <= longest:
        about = name or "a task that needs keys"
        yield Finding(
            "error",
            "result_expires",
            f"{about} may wait {longest:g} s, results go after {kept:g} s: a chord with such a member never completes",
            f"result_expires above {longest:g}, or a shorter needs_timeout",
        )


def results_go_some_day(setup: Setup) -> Iterator[Finding]:
    """Look at results that are kept for ever."""
    if setup.backend in REDIS_SCHEMES and not _seconds(setup.conf.get("result_expires")):
        yield Finding(
            "warning",
            "result_expires",
            "results are kept for ever: the result backend fills up, and refuses writes once its memory is used",
            "result_expires = 86400, and ignore_result=True for tasks of which nobody asks for the result",
        )


def results_are_in_redis(setup: Setup) -> Iterator[Finding]:
    """Look at the result backend."""
    if setup.backend == "disabled":
        yield Finding(
            "warning",
            "result_backend",
            "there are no results: WAITING is not shown, chords do not run, get() raises",
            "result_backend = 'redis://...'",
        )
    elif setup.backend not in REDIS_SCHEMES:
        yield Finding(
            "warning",
            "result_backend",
            f"chords over {setup.backend} poll and count by other means: one with a parked member may not complete",
            "result_backend = 'redis://...'",
        )


def a_lost_process_loses_no_task(setup: Setup) -> Iterator[Finding]:
    """Look at when messages are acknowledged, and what becomes of those of a killed process."""
    late = setup.conf.get("task_acks_late")
    if not late or not setup.conf.get("task_reject_on_worker_lost"):
        yield Finding(
            "warning",
            "task_reject_on_worker_lost" if late else "task_acks_late",
            "a task of yours that is no agent's is lost, or fails, when the process that runs it is killed",
            "task_acks_late = True and task_reject_on_worker_lost = True, if your tasks may run twice",
        )
    for task in setup.tasks:
        if task.is_agent and not (task.acks_late and task.reject_on_worker_lost):
            yield Finding(
                "warning",
                f"task {task.name}",
                "it was declared without acks_late or reject_on_worker_lost: a killed process loses it",
                "leave both as ctx.task sets them",
            )
        if task.is_claimed and task.retry_on_worker_lost:
            risk = "a killed process makes a retry of its run, and a retry writes again what had been written"
            yield Finding("error", f"retry_on_worker_lost of {task.name}", risk, "retry_on_worker_lost = False")


def a_sentinel_is_told_its_master(setup: Setup) -> Iterator[Finding]:
    """Look at the master's name, for broker and backend, and at how the backend finds another one."""
    for scheme, name in (
        (setup.broker, "broker_transport_options"),
        (setup.backend, "result_backend_transport_options"),
    ):
        if scheme == "sentinel" and not (setup.conf.get(name) or {}).get("master_name"):
            risk = "without master_name no connection can be made"
            yield Finding("error", name, risk, f"{name} = {{'master_name': 'mymaster', ...}}")
    if setup.backend == "sentinel" and not setup.asks_anew:
        yield Finding(
            "warning",
            "result_backend",
            "a worker that stores a result while the master is stopped goes back to that one: what it writes is lost",
            "result_backend = 'ctxqueue.integration.results:SentinelBackend+sentinel://...'",
        )


def another_beat_takes_over(setup: Setup) -> Iterator[Finding]:
    """Look at RedBeat's lock."""
    if "redbeat" not in str(setup.conf.get("beat_scheduler") or ""):
        return
    held = setup.conf.get("redbeat_lock_timeout")
    loop = float(setup.conf.get("beat_max_loop_interval") or 300)
    seconds = float(held or 5 * loop)
    if seconds > LONG_TIMEOUT or loop >= seconds:
        yield Finding(
            "warning",
            "redbeat_lock_timeout",
            f"after a crash of beat nothing is scheduled for {seconds:g} s",
            "redbeat_lock_timeout = 30 and beat_max_loop_interval = 5",
        )


RULES: tuple[Callable[[Setup], Iterator[Finding]], ...] = (
    settings_have_names_that_are_read,
    versions_are_supported,
    servers_keep_what_they_are_given,
    the_store_is_shared,
    a_task_can_be_published,
    no_task_outlives_the_visibility_timeout,
    no_countdown_outlives_the_visibility_timeout,
    a_priority_means_what_it_says,
    the_broker_is_one_that_celery_knows,
    messages_do_not_wait_behind_long_ones,
    connections_notice_a_dead_server,
    results_are_stored_again,
    idle_connections_are_looked_after,
    a_dead_workers_messages_come_back_soon,
    a_stopped_worker_gives_its_messages_back,
    a_chord_outlives_its_parked_members,
    results_go_some_day,
    results_are_in_redis,
    a_lost_process_loses_no_task,
    a_sentinel_is_told_its_master,
    another_beat_takes_over,
)


def _seconds(given: Any) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else float(given or 0.0)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004
