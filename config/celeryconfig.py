"""Celery settings of the deployment in ``workers/``, each with its reason. Copy what you need.

One Redis or Valkey serves as broker, result backend and store. CTXQUEUE_BACKEND_URL names it; CELERY_BROKER_URL and
CELERY_RESULT_BACKEND name others for those two.
"""

import os

ctxqueue_backend_url = os.environ.get("CTXQUEUE_BACKEND_URL", "redis://127.0.0.1:6379/0")
ctxqueue_namespace = os.environ.get("CTXQUEUE_NAMESPACE", "revenue")
# Expired entries, deadlines and messages that a crash left behind wait at most this long, in seconds.
ctxqueue_sweep_interval = float(os.environ.get("CTXQUEUE_SWEEP_INTERVAL", "10"))
# A run on the largest file that it takes (64 MB) has this much in its context; the default is for smaller workflows.
ctxqueue_max_bytes = 256 * 1024 * 1024

broker_url = os.environ.get("CELERY_BROKER_URL", ctxqueue_backend_url)
result_backend = os.environ.get("CELERY_RESULT_BACKEND", ctxqueue_backend_url)

# Keys of Celery's own begin with this, so that several deployments can share a database.
_prefix = os.environ.get("CELERY_KEY_PREFIX", "revenue:")

broker_transport_options = {
    "global_keyprefix": _prefix,
    # Longer than any task runs: a message that is out for longer is delivered again, though its worker is well.
    "visibility_timeout": 3600,
    # Kombu looks for such messages every 10 s x 10 by default; a dead worker's come back ten times sooner.
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    # A server that stops answering is noticed; without these a publisher can hang for minutes after a failover.
    "socket_timeout": 3,
    "socket_connect_timeout": 1,
    "health_check_interval": 5,
}
# The result backend does not read the options above.
redis_socket_timeout = 3
redis_socket_connect_timeout = 1
redis_backend_health_check_interval = 5
result_backend_transport_options = {"global_keyprefix": _prefix}

broker_connection_retry_on_startup = True

# A task is acknowledged when it has ended, so that a killed worker's task is delivered again ...
task_acks_late = True
task_reject_on_worker_lost = True
# ... and each process takes one message at a time, so that none waits behind a long one.
worker_prefetch_multiplier = 1

# On SIGTERM, running tasks have this many seconds; then their messages go back to the queue at once.
worker_soft_shutdown_timeout = 10

# Half of the visibility timeout: a task that hangs ends before its message comes again.
task_soft_time_limit = 1500
task_time_limit = 1800

# Flower shows a task as STARTED, not only as received.
task_track_started = True
worker_send_task_events = True

# Results are small (counts and names) and wanted soon.
result_expires = 3600

# Nothing but JSON is accepted: a pickle in a message would be code.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

timezone = "UTC"
