"""Somebody's Django project; the app is loaded with it, as Celery's documentation has it."""

from .celery import app as celery_app

__all__ = ("celery_app",)
