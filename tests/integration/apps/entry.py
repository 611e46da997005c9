"""What ``celery -A`` is pointed at: the sample app that the environment names, with the settings it gives."""

from __future__ import annotations

import json
import os
from importlib import import_module

app = import_module(os.environ["SAMPLE_APP"]).build(json.loads(os.environ["SAMPLE_SETTINGS"])).app
