"""The Celery app of the shipped workflow."""

from celery import Celery

import ctxqueue

app = Celery("revenue", include=["workers.web_extractor", "workers.financial_calculator", "workers.report_generator"])
app.config_from_object("config.celeryconfig")

ctx = ctxqueue.install(app)
