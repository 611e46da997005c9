"""Make the table of settings in docs/settings.md from `ctxqueue/settings.py`: names, defaults, and their docstrings.

usage: settings_page.py --check    exit status 1 if the page says something else than the code
       settings_page.py --write    rewrite the table
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import msgspec

from ctxqueue.settings import Settings

ROOT = Path(__file__).parent.parent
CODE = ROOT / "ctxqueue" / "settings.py"
PAGE = ROOT / "docs" / "settings.md"
BEGIN, END = "<!-- from ctxqueue/settings.py -->\n", "<!-- to here -->\n"


def told() -> dict[str, str]:
    """Return what the code says of each setting; exits if it says nothing of one."""
    body = next(
        node.body
        for node in ast.parse(CODE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    found: dict[str, str] = {}
    for field, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                sys.exit(f"{CODE}: {field.target.id} has no docstring below it")
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def table() -> str:
    """Return the table, in the order of the code."""
    words = told()
    rows = ["| name | default | what it is |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(Settings):
        shown = f"{field.default:,.12g}" if type(field.default) in (int, float) else f"`{field.default}`"
        rows.append(f"| `{field.name}` | {shown} | {words[field.name]} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Check or write, as asked."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        print(f"{PAGE} does not say what {CODE.name} does: .venv/bin/python .ci/settings_page.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
