"""Names of our own tasks that more than one room needs."""

from __future__ import annotations

LAUNCH_CANVAS = "ctxqueue.launch_canvas"
RUN_ENDED = "ctxqueue.trigger_run_ended"
LOOK_LATER = "ctxqueue.look_later"
