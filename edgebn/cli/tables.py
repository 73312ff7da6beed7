"""How numbers and tables look on the terminal. Rich is imported when the first one is shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

_FILE_WIDTH = 200


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


def size(count: int) -> str:
    """A number of bytes: `204.8 kB`."""
    return f"{count / 1000:,.1f} kB"
