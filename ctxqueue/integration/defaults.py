"""Celery settings under which the guarantees hold, each with its reason."""

from __future__ import annotations

from typing import Any


def celery_defaults() -> dict[str, Any]:
    """Return settings for ``app.conf.update(...)`` or a settings module; lay your own over them.

    ``celery -A proj ctx check`` has nothing to say about them.
    """
    return {
        "broker_transport_options": {
            # Longer than any task runs: a message that is out for longer is delivered again, though its worker is well.
            "visibility_timeout": 3600,
            # Kombu looks for such messages every 10 s x 10 by default; a dead worker's come back ten times sooner.
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            # One worker looks at a time; one that is killed while it looks would keep the others from it for 5 minutes.
            "unacked_mutex_expire": 30,
            # A server that stops answering is noticed; without these a publisher hangs for minutes after a failover.
            "socket_timeout": 3,
            "socket_connect_timeout": 1,
            # A worker that waits at a stopped server notices within 1 s + twice this.
            "health_check_interval": 2,
        },
        # The result backend does not read the options above.
        "redis_socket_timeout": 3,
        "redis_socket_connect_timeout": 1,
        "redis_backend_health_check_interval": 2,
        # A failover must not make a FAILURE of a task that has done its work: its result is stored again, for a minute.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 60,
        "result_backend_max_sleep_between_retries_ms": 1000,
        "broker_connection_retry_on_startup": True,
        # A task is acknowledged when it has ended, so that a killed worker's task is delivered again ...
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # ... and each process takes one message at a time, so that none waits behind a long one.
        "worker_prefetch_multiplier": 1,
        # On SIGTERM, running tasks have this many seconds; then their messages go back to the queue at once.
        "worker_soft_shutdown_timeout": 10,
        # Half of the visibility timeout: a task that hangs ends before its message comes again.
        "task_soft_time_limit": 1500,
        "task_time_limit": 1800,
        # Longer than any task waits for its keys: a member of a chord that is parked for longer never completes it.
        "result_expires": 24 * 3600,
        # Flower shows a task as STARTED, not only as received.
        "task_track_started": True,
        "worker_send_task_events": True,
    }
