"""The workers' side."""

import os

from celery import Celery

import ctxqueue
from ctxqueue import all_of

app = Celery("producer", broker=os.environ["PRODUCER_REDIS"], backend=os.environ["PRODUCER_REDIS"])
ctx = ctxqueue.install(app)


@ctx.task(name="answer", agent_type="writer", needs=all_of("question", "sources"), needs_timeout=60)
async def answer(self):
    """Answer from what has been gathered."""
    view = await self.acontext.view()
    await self.acontext.put("answer", f"{view['question']} {len(view['sources'])} sources")
