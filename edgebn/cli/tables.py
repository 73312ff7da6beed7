"""How numbers and tables look on the terminal. Rich is imported when the first one is shown."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgebn.report import Fate

_FILE_WIDTH = 200

_MOST_IN_ORDER = 24


def console() -> Any:
    """The console on stdout; where that is not a terminal, without colours and as wide as the text."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_FILE_WIDTH)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Columns whose heading ends in `>` are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.removesuffix(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table, markup=False)


def number(value: float) -> str:
    """`1.2e-07`; a plain 0 for zero."""
    return "0" if value == 0 else f"{value:.1e}"


def rounded_up(value: float) -> str:
    """Two digits that are no less than the value: `1.3e-07` for 1.21e-7."""
    shown = f"{value:.1e}"
    if float(shown) >= value:
        return number(float(shown))
    digits, exponent = shown.split("e")
    return number(float(f"{float(digits) + 0.1:.1f}e{exponent}"))


def size(count: int) -> str:
    """A number of bytes: `204.8 kB`, `9,300.0 kB`, and from there on `10.2 MB`."""
    for unit, factor in (("kB", 1e3), ("MB", 1e6)):
        if count < 1e4 * factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e9:,.1f} GB"


def operators(nodes: Sequence[str]) -> str:
    """Those of a graph: in its order, or of a long one how many of each kind, `151 Conv, 120 Relu`."""
    if len(nodes) <= _MOST_IN_ORDER:
        return " ".join(nodes)
    return ", ".join(f"{times} {operator}" for operator, times in Counter(nodes).most_common())


def count(fates: Sequence[Fate]) -> int:
    """How many layers the affines are; one that is no layer counts as one."""
    return sum(max(1, len(fate.layers)) for fate in fates)


def duration(seconds: float) -> str:
    """A time with three digits that count, in µs, ms or s: `8.31 µs`."""
    unit, name = next(((unit, name) for unit, name in ((1.0, "s"), (1e-3, "ms")) if seconds >= unit), (1e-6, "µs"))
    return f"{_three_digits(seconds / unit)} {name}"


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"


def fate_row(fate: Fate) -> tuple[str, str, str]:
    """An affine's name, where it went, and by which laws; or what of it stays, and why."""
    from edgebn.report import Folded

    name = ", ".join(fate.layers) or fate.node
    route = [f"{step.law} ({step.at})" for step in fate.route]
    if isinstance(fate, Folded):
        return name, "\n".join(fate.into), "\n".join(route)
    reasons = [f"{stop.at}: {stop.reason}" for stop in fate.stops]
    return name, "kept, its shift alone" if route else "kept", "\n".join([*route, *reasons])
