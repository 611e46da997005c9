"""A worker of the shipped workflow: ``python -m workers.worker`` and any option of ``celery worker``."""

import sys

from workers.app import app

if __name__ == "__main__":
    app.worker_main(["worker", "--pool=prefork", "--concurrency=2", "--loglevel=INFO", *sys.argv[1:]])
