"""A web service that sets agents going and does not wait for them."""

import asyncio
import uuid

from fastapi import FastAPI, HTTPException
from tasks import answer, ctx

import ctxqueue

api = FastAPI()


@api.post("/questions")
async def ask(question: str):
    """Open a workflow for a question, and let an agent wait for its sources."""
    workflow = ctx.aio.workflow(f"question-{uuid.uuid4()}", agent_id="api")
    await workflow.open()
    await workflow.put("question", question)
    with workflow:
        await asyncio.to_thread(answer.delay)
    return {"workflow": workflow.workflow_id}


@api.post("/questions/{workflow_id}/sources")
async def add(workflow_id: str, source: str):
    """Let a worker add a source; many may come at once."""
    result = await ctx.aio.enqueue_update(workflow_id, "api", {"sources": [source]}, merge_strategy="append")
    return {"task": result.id}


@api.get("/questions/{workflow_id}")
async def show(workflow_id: str):
    """Show what there is."""
    try:
        return dict(await ctx.aio.workflow(workflow_id, agent_id="api").view())
    except ctxqueue.WorkflowNotFound as error:
        raise HTTPException(404, str(error)) from error
