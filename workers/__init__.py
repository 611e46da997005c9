"""A deployment to run or to copy: a quarter's revenue consolidated by Celery tasks that share context."""
