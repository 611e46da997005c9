"""Our own Celery tasks, by kind. Each module registers its tasks with one app."""
