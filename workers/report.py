"""The report of a consolidation: `report.md`, `chart.svg` and `skipped.csv` in one directory.

The same totals and rows give the same bytes, whatever order they come in.
"""

import csv
import io
import math
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree as ET

from workers.consolidation import Summary, Total, sum_euro
from workers.revenue import SkippedRow

REPORT, CHART, SKIPPED = "report.md", "chart.svg", "skipped.csv"
TITLE = "Revenue by entity and quarter, in euro"

_METHOD = (
    "Each row is converted at the European Central Bank's euro reference rate of its date, or of the latest",
    "day up to 7 days before it, and rounded to cents, half to even. Totals are sums of rounded rows.",
)

# All that str.splitlines takes for the end of a line, so that a script can read the table line by line.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_WIDTH, _LEFT, _RIGHT = 960, 230, 930
_LINE, _BAR, _GAP, _HAIR = 18, 9, 9, 1
_LEGEND_COLUMNS, _LABEL_CHARS, _TICKS = 8, 32, 8
_UNITS = ((1e12, "trillion EUR"), (1e9, "billion EUR"), (1e6, "million EUR"), (1e3, "thousand EUR"))
_COLOURS = (
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951",
    "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0",
)  # fmt: skip


def write_report(
    directory: str | PathLike[str], totals: Iterable[Total], summary: Summary, skipped: Iterable[SkippedRow]
) -> list[Path]:
    """Write the three files into a directory, which is made if it is not there, and give their paths.

    Each file is replaced whole, and none before all three are written; `report.md` comes last. Raises
    `OSError` if the directory cannot be made or written to.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    totals, skipped = sorted(totals), sorted(skipped, key=lambda row: row.line)
    texts = {
        folder / SKIPPED: render_skipped(skipped),
        folder / CHART: render_chart(totals),
        folder / REPORT: render_report(totals, summary, skipped),
    }
    _replace_all(texts)
    return list(texts)


def render_report(totals: Iterable[Total], summary: Summary, skipped: Iterable[SkippedRow]) -> str:
    """Render the Markdown page; only the table of entities and quarters has three columns."""
    totals = sorted(totals)
    reasons = Counter(row.reason.partition(":")[0] for row in skipped)
    period = f"{summary.first} to {summary.last}" if summary.converted else "no rows"
    return "\n".join(
        [
            f"# {TITLE}",
            "",
            f"- Period: {period}",
            f"- Rows converted: {summary.converted}",
            f"- Rows skipped: {reasons.total()}" + (f" (see [{SKIPPED}]({SKIPPED}))" if reasons else ""),
            "",
            *_METHOD,
            "",
            f"![Bars by entity and quarter]({CHART})",
            "",
            "## By entity and quarter",
            "",
            *_table(("entity", "quarter", "eur"), [total.to_json() for total in totals]),
            "",
            "## By quarter",
            "",
            *_table(("quarter", "eur"), _sums(totals, lambda total: total.quarter)),
            "",
            "## By entity",
            "",
            *_table(("entity", "eur"), _sums(totals, lambda total: total.entity)),
            "",
            f"**Grand total: {sum_euro(total.eur for total in totals)} EUR**",
            "",
            *_skipped_section(reasons),
        ]
    )


def render_skipped(skipped: Iterable[SkippedRow]) -> str:
    """Render `line,reason,raw` as CSV, by line.

    `raw` is exactly what the file had, so it is not defused for a spreadsheet that runs cells as formulas.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("line", "reason", "raw"))
    writer.writerows((row.line, row.reason, row.raw) for row in sorted(skipped, key=lambda row: row.line))
    return out.getvalue()


def render_chart(totals: Iterable[Total]) -> str:
    """Render horizontal bars, grouped by entity, as SVG; it grows in height with the number of bars.

    Each bar is a `rect`, and nothing else is, with `data-entity`, `data-quarter` and `data-eur`. Characters
    that XML does not allow become U+FFFD.
    """
    totals = sorted(totals)
    quarters = sorted({total.quarter for total in totals})
    colours = {quarter: _COLOURS[index % len(_COLOURS)] for index, quarter in enumerate(quarters)}
    values = [float(total.eur) for total in totals]
    ticks = _ticks(values)
    unit, unit_name = _unit(values)
    top = 5 * _LINE + math.ceil(len(quarters) / _LEGEND_COLUMNS) * _LINE
    groups = _by_entity(totals)
    bottom = top + _GAP + sum(len(group) * _BAR + _GAP for group in groups)

    svg = _svg(bottom + 2 * _LINE)
    _text(svg, 20, 30, TITLE).attrib.update({"font-size": "18", "font-weight": "bold"})
    _draw_legend(svg, colours)
    _text(svg, (_LEFT + _RIGHT) / 2, top - 1.4 * _LINE, unit_name, "middle")
    for tick in ticks:
        _draw_tick(svg, _x(tick, ticks), (top, bottom), f"{tick / unit:,.10g}", zero=tick == 0)
    y = top + _GAP
    for group in groups:
        _draw_group(svg, y, group, ticks, colours)
        y += len(group) * _BAR + _GAP
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _replace_all(texts: dict[Path, str]) -> None:
    written: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            written[path] = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            written[path].write_text(text, encoding="utf-8", newline="")
        for path, temporary in written.items():
            temporary.replace(path)
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _skipped_section(reasons: Counter[str]) -> list[str]:
    if not reasons:
        return []
    return ["## Skipped rows", "", *_table(("reason", "rows"), sorted(reasons.items())), ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    rule = ["---"] * (len(header) - 1) + ["---:"]
    return [f"| {' | '.join(map(_cell, row))} |" for row in (header, rule, *rows)]


def _cell(value: object) -> str:
    """Escape a cell; `<` too, so that `<br>` can only be a line break."""
    return _LINE_BREAK.sub("<br>", re.sub(r"[\\|<]", r"\\\g<0>", str(value)))


def _sums(totals: Iterable[Total], key: Callable[[Total], str]) -> list[tuple[str, object]]:
    amounts = defaultdict(list)
    for total in totals:
        amounts[key(total)].append(total.eur)
    return [(name, sum_euro(amounts[name])) for name in sorted(amounts)]


def _by_entity(totals: Iterable[Total]) -> list[list[Total]]:
    groups: dict[str, list[Total]] = {}
    for total in totals:
        groups.setdefault(total.entity, []).append(total)
    return list(groups.values())


def _ticks(values: list[float]) -> list[float]:
    """Give round numbers at equal steps that span the values and 0."""
    low, high = min([0.0, *values]), max([0.0, *values])
    rough = (high - low or 1.0) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    return [index * step for index in range(math.floor(low / step), max(math.ceil(high / step), 1) + 1)]


def _unit(values: list[float]) -> tuple[float, str]:
    """Give the unit in which the values are short numbers, in euro, and its name."""
    greatest = max(map(abs, values), default=0.0)
    return next(((size, name) for size, name in _UNITS if size <= greatest), (1.0, "EUR"))


def _x(value: float, ticks: list[float]) -> float:
    return _LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_RIGHT - _LEFT)


def _svg(height: float) -> ET.Element:
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {_WIDTH} {height:g}",
        "width": f"{_WIDTH}",
        "height": f"{height:g}",
        "role": "img",
        "font-family": "sans-serif",
        "font-size": "12",
        "fill": "#222222",
    }
    svg = ET.Element("svg", attributes)
    ET.SubElement(svg, "title").text = TITLE
    ET.SubElement(svg, "path", d=f"M0 0H{_WIDTH}V{height:g}H0Z", fill="#ffffff")
    return svg


def _draw_legend(svg: ET.Element, colours: dict[str, str]) -> None:
    for index, (quarter, colour) in enumerate(colours.items()):
        row, column = divmod(index, _LEGEND_COLUMNS)
        x, y = 20 + column * 110, 54 + row * _LINE
        ET.SubElement(svg, "circle", cx=f"{x + 5}", cy=f"{y - 4}", r="5", fill=colour)
        _text(svg, x + 15, y, quarter)


def _draw_tick(svg: ET.Element, x: float, span: tuple[float, float], label: str, *, zero: bool) -> None:
    top, bottom = span
    stroke = "#555555" if zero else "#dddddd"
    ET.SubElement(svg, "path", d=f"M{x:.2f} {top:g}V{bottom:g}", stroke=stroke)
    _text(svg, x, top - 6, label, "middle")
    _text(svg, x, bottom + _LINE, label, "middle")


def _draw_group(svg: ET.Element, y: float, group: list[Total], ticks: list[float], colours: dict[str, str]) -> None:
    middle = y + len(group) * _BAR / 2
    _text(svg, _LEFT - 8, middle + 4, _shortened(group[0].entity), "end")
    for index, total in enumerate(group):
        start, end = sorted((_x(0, ticks), _x(float(total.eur), ticks)))
        bar = {
            "x": f"{start:.2f}",
            "y": f"{y + index * _BAR:g}",
            "width": f"{max(end - start, _HAIR):.2f}",
            "height": f"{_BAR - 1}",
            "fill": colours[total.quarter],
            "data-entity": _xml(total.entity),
            "data-quarter": total.quarter,
            "data-eur": str(total.eur),
        }
        tip = ET.SubElement(ET.SubElement(svg, "rect", bar), "title")
        tip.text = _xml(f"{total.entity}, {total.quarter}: {total.eur} EUR")


def _text(svg: ET.Element, x: float, y: float, text: str, anchor: str = "start") -> ET.Element:
    element = ET.SubElement(svg, "text", {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor})
    element.text = _xml(text)
    return element


def _shortened(name: str) -> str:
    line = " ".join(name.split())
    return line if len(line) <= _LABEL_CHARS else line[: _LABEL_CHARS - 1] + "…"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
