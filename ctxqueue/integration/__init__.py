"""ctxqueue inside a Celery app."""
