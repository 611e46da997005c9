"""Each command says what it does, with an example, and the page on the command line names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from ctxqueue.integration.cli import FAMILIES, ctx
from ctxqueue.integration.cli.commands import Command
from tests.integration.commands import told_as_typed
from tests.integration.deployments import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


ALL = dict(commands(ctx))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_each_command_has_help_that_ends_in_an_example_of_itself(words: tuple[str, ...]) -> None:
    command = ALL[words]
    assert isinstance(command, Command)
    assert f"ctx {' '.join(words)}" in command.example
    shown = told_as_typed("ctx", *words, "--help")
    text, _, example = shown.stdout.partition("\nExample:\n")
    assert (shown.status, example.strip() != "") == (0, True)
    assert (command.help or "").splitlines()[0][:40] in text


def test_the_group_says_what_each_command_does_in_a_whole_sentence() -> None:
    shown = told_as_typed("ctx", "--help").stdout.partition("Commands:")[2]
    assert "..." not in shown
    for name in FAMILIES:
        assert f"\n  {name} " in shown


def test_the_page_names_each_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert [words for words in ALL if f"`{words[0]}" not in page and f", `{words[0]}" not in page] == []
