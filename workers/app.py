"""The Celery app of the shipped workflow."""

from celery import Celery

import ctxqueue

AGENTS = ("web_extractor", "financial_calculator", "financial_agent", "report_generator")

app = Celery("revenue", include=[f"workers.{agent}" for agent in AGENTS])
app.config_from_object("config.celeryconfig")

ctx = ctxqueue.install(app)
