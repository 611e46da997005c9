"""Celery settings of the deployment in ``workers/``, each with its reason. Copy what you need.

One Redis or Valkey serves as broker, result backend and store. CTXQUEUE_BACKEND_URL names it; CELERY_BROKER_URL and
CELERY_RESULT_BACKEND name others for those two.
"""

import os

from ctxqueue import celery_defaults

ctxqueue_backend_url = os.environ.get("CTXQUEUE_BACKEND_URL", "redis://127.0.0.1:6379/0")
ctxqueue_namespace = os.environ.get("CTXQUEUE_NAMESPACE", "revenue")
# Expired entries, deadlines and messages that a crash left behind wait at most this long, in seconds.
ctxqueue_sweep_interval = float(os.environ.get("CTXQUEUE_SWEEP_INTERVAL", "10"))
# A run on the largest file that it takes (64 MB) has this much in its context; the default is for smaller workflows.
ctxqueue_max_bytes = 256 * 1024 * 1024

# Where PROMETHEUS_MULTIPROC_DIR names a folder, each process counts there, and the worker serves it all on this port.
ctxqueue_metrics = "PROMETHEUS_MULTIPROC_DIR" in os.environ
ctxqueue_metrics_port = int(os.environ.get("CTXQUEUE_METRICS_PORT", "9808"))
ctxqueue_metrics_host = os.environ.get("CTXQUEUE_METRICS_HOST", "127.0.0.1")

broker_url = os.environ.get("CELERY_BROKER_URL", ctxqueue_backend_url)
result_backend = os.environ.get("CELERY_RESULT_BACKEND", ctxqueue_backend_url)

# Keys of Celery's own begin with this, so that several deployments can share a database.
_prefix = os.environ.get("CELERY_KEY_PREFIX", "revenue:")

# The settings under which the guarantees hold; `ctxqueue/integration/defaults.py` has the reason for each.
_defaults = celery_defaults()
globals().update(_defaults)

broker_transport_options = {"global_keyprefix": _prefix, **_defaults["broker_transport_options"]}
result_backend_transport_options = {"global_keyprefix": _prefix}

# Nothing but JSON is accepted: a pickle in a message would be code.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

timezone = "UTC"
