"""The project's Celery app, with ctxqueue in it."""

import os

from celery import Celery

import ctxqueue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

ctx = ctxqueue.install(app)
