"""An app that has never heard of ctxqueue."""

from __future__ import annotations

from celery import Celery

app = Celery("bare", broker="memory://", set_as_current=False)
