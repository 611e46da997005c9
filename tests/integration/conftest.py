"""Deployments for the modules of this folder, each started once for all tests of a module."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.integration.deployments import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator


class Deploy(Protocol):
    """Deploys a sample app with some settings; it ends with the module."""

    def __call__(self, sample: str, **settings: Any) -> Deployment: ...


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deploy]:
    with ExitStack() as stack:

        def deployed(sample: str, **settings: Any) -> Deployment:
            return stack.enter_context(Deployment(sample, tmp_path_factory.mktemp(sample), settings))

        yield deployed
