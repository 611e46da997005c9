"""What a shell completes: ``completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ctxqueue.integration.cli.commands import Command

VARIABLE = "_CELERY_COMPLETE"


@click.command("completion", cls=Command, example='eval "$(celery ctx completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Write what makes SHELL complete celery's commands, ctx's among them, and names of workflows.

    It goes into ~/.bashrc or ~/.zshrc as below, for fish into ~/.config/fish/completions/celery.fish. Names of
    workflows are completed where -A comes before ctx, and the store answers.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"click completes nothing for {shell}")
    click.echo(kind(context.find_root().command, {}, "celery", VARIABLE).source())


COMMANDS = {"completion": completion}
