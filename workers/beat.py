"""The scheduler of the shipped workflow, one for a deployment: ``python -m workers.beat`` and any beat option."""

import sys

from workers.app import app

if __name__ == "__main__":
    app.start(["beat", "--loglevel=INFO", *sys.argv[1:]])
