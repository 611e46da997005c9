"""The app of the examples in ``--help``."""

import os

from celery import Celery

import ctxqueue
from ctxqueue import Keyring, all_of


def build(url):
    app = Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)
    ctx = ctxqueue.install(app, backend_url=url, keyring=Keyring({"2026-11": b"k" * 32}))

    @ctx.task(name="calculate", agent_type="financial_calculator", needs=all_of("approval"))
    def calculate(self, quarter):
        return self.name, quarter

    return ctx


ctx = build(os.environ.get("CTXQUEUE_BACKEND_URL", "memory://"))
app = ctx.app
