"""Flower for the shipped workflow, for this machine only: ``python -m workers.flower`` and any Flower option."""

import sys

from workers.app import app

if __name__ == "__main__":
    app.start(["flower", "--address=127.0.0.1", *sys.argv[1:]])
