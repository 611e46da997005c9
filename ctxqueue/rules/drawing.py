"""A graph as text: Mermaid, and Graphviz DOT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ctxqueue.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Kind = Literal["entry", "missing", "waiting"]


class Edge(NamedTuple):
    """From what is needed to what needs it; ``waits``: it waits for that."""

    needed: str
    by: str
    waits: bool


def drawn(nodes: Mapping[str, tuple[Kind, str]], edges: Sequence[Edge], form: str) -> str:
    """Return nodes (name -> kind and label) and edges as ``mermaid`` or ``dot``; raises InvalidInput for others."""
    draw = FORMS.get(form)
    if draw is None:
        raise InvalidInput(f"format is {form!r}: one of {', '.join(FORMS)}")
    ids = {name: f"n{number}" for number, name in enumerate(nodes)}
    return draw(nodes, edges, ids)


def _mermaid(nodes: Mapping[str, tuple[Kind, str]], edges: Sequence[Edge], ids: Mapping[str, str]) -> str:
    shapes = {"entry": '["{}"]', "missing": '("{}")', "waiting": '{{{{"{}"}}}}'}
    lines = ["flowchart LR"]
    for name, (kind, label) in nodes.items():
        text = "".join(f"#{ord(each)};" if each in '#"<>&;`\\' else each for each in label)
        lines.append(f"  {ids[name]}{shapes[kind].format(text)}")
    lines += [f"  {ids[edge.needed]} {'-.->' if edge.waits else '-->'} {ids[edge.by]}" for edge in edges]
    missing = [ids[name] for name, (kind, _) in nodes.items() if kind == "missing"]
    if missing:
        lines += ["  classDef missing stroke-dasharray: 4", f"  class {','.join(missing)} missing"]
    return "\n".join(lines) + "\n"


def _dot(nodes: Mapping[str, tuple[Kind, str]], edges: Sequence[Edge], ids: Mapping[str, str]) -> str:
    shapes = {"entry": "shape=box", "missing": "shape=box, style=dashed", "waiting": "shape=hexagon"}
    lines = ["digraph workflow {", "  rankdir=LR;"]
    for name, (kind, label) in nodes.items():
        text = label.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  {ids[name]} [label="{text}", {shapes[kind]}];')
    for edge in edges:
        style = " [style=dashed]" if edge.waits else ""
        lines.append(f"  {ids[edge.needed]} -> {ids[edge.by]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


FORMS: dict[str, Callable[[Mapping[str, tuple[Kind, str]], Sequence[Edge], Mapping[str, str]], str]] = {
    "mermaid": _mermaid,
    "dot": _dot,
}
