"""Tables in Markdown, and the places in documents that are generated."""

import sys
from pathlib import Path

from .machine import ROOT

RESULTS = ROOT / "bench" / "RESULTS.md"
README = ROOT / "README.md"


def table(head, rows):
    """A table; columns whose first cell begins with a digit are aligned to the right."""
    is_number = [bool(rows) and str(cell)[:1].isdigit() for cell in (rows[0] if rows else head)]
    lines = [head, ["---:" if number else "---" for number in is_number], *rows]
    return "".join("| " + " | ".join(str(cell) for cell in cells) + " |\n" for cells in lines)


def split(path, name):
    """What stands before, between and behind the markers of that name."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    document = Path(path).read_text(encoding="utf-8")
    if begin not in document or end not in document:
        sys.exit(f"{path}: no place for `{name}`")
    before, _, rest = document.partition(begin)
    inside, _, after = rest.partition(end)
    return before + begin, inside, end + after


def replace(path, name, text):
    """Puts text between the markers of that name."""
    before, _, after = split(path, name)
    Path(path).write_text(f"{before}{text.rstrip()}\n{after}", encoding="utf-8")


def copy_speed():
    """Puts the section `speed` of the results into the README, without the columns of seconds."""
    _, inside, _ = split(RESULTS, "speed")
    lines = [without_seconds(line) if line.startswith("|") else line for line in inside.splitlines()]
    replace(README, "speed", "\n".join(lines))


def without_seconds(row):
    """A row of that table without the columns of the median and of the fastest and slowest run."""
    cells = row.split(" | ")
    return " | ".join(cells[:2] + cells[4:])


def seconds(value):
    """A duration with three digits that count."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def count(value):
    """A number with its thousands apart, rounded to three digits that count."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def ratio(value):
    """How many times as fast."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
