"""Tables as one HTML page that needs nothing else: Snakemake's report shows no CSV, only HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mapmill.atomic import write_text

STYLE = """
body { font: 14px/1.45 sans-serif; color: #111; background: #fff; margin: 1.5em; }
h1 { font-size: 1.3em; } h2 { font-size: 1.05em; margin: 1.6em 0 .3em; } p { max-width: 60em; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #bbb; padding: .2em .8em .2em 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 2px solid #555; } .number { text-align: right; }
td:first-child { min-width: 8em; }
footer { margin-top: 2em; font-size: 12px; }
"""
NUMBER = re.compile(r"[+-]?\d[\d,.]*(e[+-]?\d+)?( %| \(.*\))?")
"""With a share or an interval."""
NO_NUMBER = ("", "absent", "undefined", "none before")


@dataclass(frozen=True)
class Table:
    """A table with its heading and a sentence on how to read it."""

    heading: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_page(path: Path, title: str, tables: Sequence[Table], credits: Sequence[str]) -> None:
    """Write tables as a page of HTML, whole or not at all."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(_table(table) for table in tables),
        f"<footer>{escape(' · '.join(credits))}</footer></body></html>\n",
    ]
    write_text(path, "\n".join(parts))


def _table(table: Table) -> str:
    """One table; a column of numbers stands to the right."""
    columns = [[row[place] for row in table.rows] for place in range(len(table.header))]
    is_number = [any(map(NUMBER.fullmatch, c)) and all(map(_fits, c)) for c in columns]
    lines = [f"<h2>{escape(table.heading)}</h2>", f"<p>{escape(table.about)}</p>"]
    if not table.rows:
        return "\n".join(lines)
    lines += ["<table>", _row("th", table.header, is_number)]
    lines += [_row("td", row, is_number) for row in table.rows]
    return "\n".join([*lines, "</table>"])


def _fits(cell: str) -> bool:
    """Whether a cell may stand among numbers."""
    return cell in NO_NUMBER or bool(NUMBER.fullmatch(cell))


def _row(tag: str, cells: Sequence[str], is_number: Sequence[bool]) -> str:
    shown = (
        f'<{tag} class="number">{escape(cell)}</{tag}>'
        if right
        else f"<{tag}>{escape(cell)}</{tag}>"
        for cell, right in zip(cells, is_number, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"
