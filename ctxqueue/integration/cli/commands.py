"""What every command has in common: its example, the app it works on, and how what goes wrong is told.

Status: 0 done. 1 refused, not found, or the answer is no. 2 wrong use: an argument, an option, JSON that is none.
3 the store or broker was not reached, or did not let us in. 130 Ctrl-C, 141 nobody reads what is written.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click
from celery.bin.base import CeleryCommand
from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from ctxqueue.errors import CtxqueueError, InvalidInput, StoreAuthError, StoreUnavailable, WorkflowNotFound
from ctxqueue.flows.refusals import NOT_OPENED
from ctxqueue.integration.installed import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ctxqueue.integration.install import ContextQueue

C = TypeVar("C", bound=click.Command)

SENTENCE = 200
"""Characters of the longest first sentence of a command's help."""
MISUSED, AWAY = 2, 3
"""Statuses."""
SIGNALLED = 128
"""And the signal's number: the status of what it ended, as a shell has it."""


class Told(click.ClickException):
    """One line on stderr, and status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Misused(Told):
    """Status 2."""

    exit_code = MISUSED


class Away(Told):
    """Status 3."""

    exit_code = AWAY


@contextmanager
def telling() -> Iterator[None]:
    """Turn what a hurried person, or a server, does wrong into one line and a status."""
    try:
        yield
    except WorkflowNotFound as error:
        told = str(error).partition(NOT_OPENED)[0]
        raise Told(f"{told}: ctx workflows lists those that do; put and update make one with --open") from error
    except CtxqueueError as error:
        away = isinstance(error, StoreUnavailable | StoreAuthError)
        kind = Misused if isinstance(error, InvalidInput) else Away if away else Told
        raise kind(str(error)) from error
    except OperationalError as error:
        raise Away(f"the broker does not answer: {error}") from error
    except BrokenPipeError:  # `| head` has seen enough
        _write_no_more()
        sys.exit(SIGNALLED + signal.SIGPIPE)
    except OSError as error:  # of a disk that is full, say
        _write_no_more()
        raise Told(f"it cannot be written: {error}") from error
    except KeyboardInterrupt:
        sys.exit(SIGNALLED + signal.SIGINT)


def _write_no_more() -> None:
    """Let Python not try it again at exit."""
    with suppress(ValueError, OSError):  # a test's standard output is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def reaching_results(app: Any) -> Iterator[None]:
    """Turn what the result backend raises into one line: only it knows what its client raises."""
    try:
        known = getattr(app.backend, "connection_errors", ())
    except (LookupError, ValueError, ImportError, ImproperlyConfigured):  # its text may quote a part of a password
        raise Misused("result_backend cannot be read: is it a URL, its password quoted (%2F for /)?") from None
    try:
        yield
    except known as error:
        raise Away(f"the result backend does not answer: {error}") from error


class Command(CeleryCommand):
    """A command with an example."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.example = example

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example last."""
        with formatter.section("Example"):
            for line in inspect.cleandoc(self.example).splitlines():
                formatter.write_text(line)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it."""
        with telling():
            return super().invoke(ctx)


class Subcommands(click.Group):
    """A command that is a group of commands: ``cls=Subcommands``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one may have been meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0], self.list_commands(ctx))
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise click.UsageError(f"{error.message}{hint}", error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first sentence of each command whole; click would cut it to the width of the terminal."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=SENTENCE)) for name, command in found if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Families(Subcommands):
    """A group of which each command's module is loaded when the command is called for."""

    def __init__(self, *args: Any, families: Mapping[str, str], package: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.families = families
        self.package = package

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return all names."""
        return sorted(self.families)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Load a command; None: there is none of this name."""
        if name not in self.families:
            return None
        module = import_module(f"{self.package}.{self.families[name]}")
        command: click.Command = module.COMMANDS[name]
        return command


def command(name: str, *, example: str, **options: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Declare a command; its function is given the app's ctxqueue first. Its docstring is its help."""

    def declare(function: Callable[..., Any]) -> click.Command:
        @click.pass_context
        def called(context: click.Context, /, *args: Any, **kwargs: Any) -> Any:
            return function(queue_of(context), *args, **kwargs)

        called.__doc__ = function.__doc__
        called.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        made: click.Command = click.command(name, cls=Command, example=example, **options)(called)
        return made

    return declare


def queue_of(context: click.Context) -> ContextQueue:
    """Return the ctxqueue of the app that ``-A`` names."""
    app = context.obj.app
    app.loader.import_default_modules()
    queue = installed(app)
    if queue is None:
        if context.find_root().params.get("app") is None:
            raise Misused("which app? celery -A proj ctx ...")
        raise Misused(f"ctxqueue is not installed in the app {app.main!r}: ctxqueue.install(app)")
    return queue
