"""The beat entries: our own, beside whatever the app has scheduled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ctxqueue.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

CLEANUP_SWEEP = "ctxqueue.cleanup_sweep"
DEPENDENCY_CALLBACKS = "ctxqueue.dependency_callbacks"
MEMORY_RETENTION = "ctxqueue.memory_retention"


def restore_entries(app: Celery) -> None:
    """Schedule our tasks again where the app was given another schedule since; one that was taken out stays out."""
    if not any(name in app.conf.beat_schedule for name in (CLEANUP_SWEEP, DEPENDENCY_CALLBACKS, MEMORY_RETENTION)):
        add_entries(app)


def add_entries(app: Celery) -> None:
    """Schedule our tasks; an entry of the same name that the user made stays as it is."""
    settings = Settings.read(app.conf.get)
    intervals = {
        CLEANUP_SWEEP: settings.sweep_interval,
        DEPENDENCY_CALLBACKS: settings.sweep_interval,
        MEMORY_RETENTION: settings.retention_interval,
    }
    # Ticks that nobody took in time are worth nothing: the next one does their work.
    ours = {
        name: {"task": name, "schedule": interval, "options": {"expires": interval}}
        for name, interval in intervals.items()
    }
    # A new mapping: the app's may stand in a settings module that other apps read too, and add_periodic_task
    # would write into it.
    app.conf.beat_schedule = {**ours, **app.conf.beat_schedule}
