"""C text: lines with indentation, sums and products without what adds or multiplies nothing, literals."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Index = int | str
"""A C expression of type int; a number where it is known."""


class Code:
    """Lines of C. `block` indents what is written inside of it."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self._depth = depth

    def __call__(self, *lines: str) -> None:
        """Write lines at the current depth."""
        self.lines += ["    " * self._depth + line for line in lines]

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        """`head`, and what is written inside of it, in braces if that is more than one statement."""
        start = len(self.lines)
        self._depth += 1
        yield
        self._depth -= 1
        body = self.lines[start:]
        if head and _is_one_statement(body, "    " * (self._depth + 1)):
            self.lines[start:] = ["    " * self._depth + head, *body]
        elif not head and not self._depth:
            self.lines[start:] = ["{", *body, "}"]
        else:
            self.lines[start:] = ["    " * self._depth + f"{head} {{".lstrip(), *body, "    " * self._depth + "}"]

    @contextlib.contextmanager
    def loop(self, index: str, extent: Index, step: int = 1) -> Iterator[Index]:
        """Count `index` from 0 below `extent`. A loop that would run once is left out, and its index is 0."""
        if isinstance(extent, int) and extent <= step:
            yield 0
            return
        increment = f"{index}++" if step == 1 else f"{index} += {step}"
        with self.block(f"for (int {index} = 0; {index} < {extent}; {increment})"):
            yield index

    @contextlib.contextmanager
    def span(self, index: str, bounds: tuple[int, int]) -> Iterator[Index]:
        """Count `index` from the first bound below the second. Of a loop that would run once its index is left."""
        first, last = bounds
        if first + 1 == last:
            yield first
            return
        with self.block(f"for (int {index} = {first}; {index} < {last}; {index}++)"):
            yield index

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _is_one_statement(body: list[str], indent: str) -> bool:
    """Whether the body is one simple statement, or one loop with all that is in it."""
    heads = [line for line in body if not line.startswith(indent + " ") and line != indent + "}"]
    return len(heads) == 1 and not heads[0].startswith((indent + "if ", indent + "float ", indent + "const "))


def add(*terms: Index) -> Index:
    """a + b + …."""
    constant = sum(term for term in terms if isinstance(term, int))
    symbolic = [term for term in terms if isinstance(term, str)]
    if not symbolic:
        return constant
    text = " + ".join(symbolic)
    if constant:
        text += f" + {constant}" if constant > 0 else f" - {-constant}"
    return text


def multiply(expression: Index, factor: int) -> Index:
    """The expression times a number."""
    if isinstance(expression, int):
        return expression * factor
    if factor in {0, 1}:
        return expression if factor else 0
    if known := re.fullmatch(r"(\w+) \* (\d+)", expression):
        return multiply(known[1], int(known[2]) * factor)
    return f"{atom(expression)} * {factor}"


def atom(expression: Index) -> str:
    """The expression in parentheses if it needs them as a factor."""
    text = str(expression)
    return text if re.fullmatch(r"\w+", text) else f"({text})"


def at(pointer: str, offset: Index) -> str:
    """`pointer + offset`."""
    return str(add(pointer, offset))


def literal(number: float) -> str:
    """A float constant that reads back as the same float32; INFINITE and NOT_A_NUMBER are macros of the program."""
    if not np.isfinite(number):
        return "NOT_A_NUMBER" if np.isnan(number) else "INFINITE" if number > 0 else "-INFINITE"
    text = str(np.float32(number))
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def literals(array: np.ndarray[Any, Any]) -> Iterator[str]:
    """Array elements as literals."""
    return map(literal, array.reshape(-1))


def wrapped(items: Iterable[str], width: int = 116) -> Iterator[str]:
    """Comma-separated items in lines of at most `width` characters."""
    line = ""
    for item in items:
        if line and len(line) + len(item) + 2 > width:
            yield line
            line = ""
        line += f"{' ' if line else ''}{item},"
    if line:
        yield line
