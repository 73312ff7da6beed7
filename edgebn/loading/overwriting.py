"""No command writes over what it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgebn.errors import InputError, UsageError
from edgebn.loading.onnx_files import parts_of


def check_distinct(given: Iterable[Any], outputs: Iterable[Path | None], data: str | Path | None = None) -> None:
    """Raise UsageError if a result would lie over a model or a part of it, or over another result.

    What is given and no path is a model in memory, over which nothing can be written. `data` are read as well, unless
    that is the name of a data set.
    """
    models = [Path(each) for each in given if isinstance(each, str | Path)]
    read = {path.resolve() for path in (*models, *([] if data is None else [Path(data)]))}
    parts = frozenset[Path]().union(*map(_parts, models))
    written: set[Path] = set()
    for path in (each.resolve() for each in outputs if each is not None):
        if path in read or path in written:
            raise UsageError(f"{path.name}: is read or written twice by this command; choose another output")
        if not parts.isdisjoint((path, *path.parents)):
            raise UsageError(f"{path.name}: is a part of the model; choose another output")
        written.add(path)


def _parts(path: Path) -> frozenset[Path]:
    try:
        return parts_of(path)
    except InputError:  # a damaged model has no parts that are known; opening it says so
        return frozenset()
