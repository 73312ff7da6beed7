"""Where golden vectors lie: in `test_data_set_0/input_0.pb, output_0.pb` and so on, as ONNX's backend tests have it."""

from __future__ import annotations

import re
from pathlib import Path

VECTOR = re.compile(r"(input|output)_(\d+)\.pb")
_SET = re.compile(r"test_data_set_(\d+)")


def data_sets(folder: Path) -> list[Path]:
    """The folders with data sets, in order."""
    try:
        found = [each for each in folder.iterdir() if _SET.fullmatch(each.name) and each.is_dir()]
    except OSError:
        return []
    return sorted(found, key=number)


def vector_files(folder: Path) -> list[Path]:
    """The files of all data sets, in order."""
    return [file for each in data_sets(folder) for file in sorted(each.iterdir()) if VECTOR.fullmatch(file.name)]


def number(folder: Path) -> int:
    """Which data set a folder is."""
    return int(folder.name.rsplit("_", 1)[1])
