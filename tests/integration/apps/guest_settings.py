"""The settings module of somebody's project, as Django projects have it; no server answers at its URLs."""

from __future__ import annotations

NOBODY = "redis://127.0.0.1:1/0"

CELERY_BROKER_URL = NOBODY
CELERY_RESULT_BACKEND = NOBODY
CELERY_TASK_ROUTES = {"guest.*": {"queue": "guests"}}
CELERY_TASK_ANNOTATIONS = {"guest.plain": {"rate_limit": "100/s"}, "guest.agent": {"max_retries": 7}}
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_DEFAULT_QUEUE = "celery"
CELERY_WORKER_PREFETCH_MULTIPLIER = 7
CELERY_BEAT_SCHEDULE = {
    "nightly": {"task": "guest.plain", "schedule": 86_400.0, "args": (1,)},
    "ctxqueue.cleanup_sweep": {"task": "ctxqueue.cleanup_sweep", "schedule": 123.0, "args": (50,)},
}
CELERY_CTXQUEUE_SWEEP_INTERVAL = 99
CELERY_CTXQUEUE_LEASE = 11
CELERY_CTXQUEUE_NAMESPACE = "guests"
CELERY_CTXQUEUE_BACKEND_URL = "redis://127.0.0.1:1/3"
