"""The pytest plugin: the fixture ``ctx``, an app whose tasks run at once. It loads what it needs when it is asked for.

# pyproject.toml
[tool.pytest.ini_options]
ctxqueue_app = "proj.celery:app"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ctxqueue.testing.eager import EagerContext


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting."""
    parser.addini("ctxqueue_app", "the Celery app of the fixture ctx, as `celery -A` takes it; default: a new one")


@pytest.fixture
def ctxqueue_app(request: pytest.FixtureRequest) -> Any:
    """The Celery app that ``ctx`` is about; override it, or set ``ctxqueue_app`` in pytest's configuration."""
    from celery import Celery  # noqa: PLC0415
    from celery.app.utils import find_app  # noqa: PLC0415

    named = request.config.getini("ctxqueue_app")
    return find_app(named) if named else Celery("tests", set_as_current=False)


@pytest.fixture
def ctx(ctxqueue_app: Any) -> Iterator[EagerContext]:
    """The app's ContextQueue, its tasks run at once, on an empty store in memory.

    Beside what `ctxqueue.install` returns it has ``advance(seconds)``, ``parked`` and ``fired``. A task whose ``needs``
    are not met raises DependencyNotReady.
    """
    from ctxqueue.testing.eager import eager_context  # noqa: PLC0415

    with eager_context(ctxqueue_app) as context:
        yield context
