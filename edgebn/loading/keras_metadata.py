"""What edgebn writes into a `.keras` file of what the model takes and gives, beside what Keras writes of itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from edgebn import files
from edgebn.interface import LABELS, PIXEL_FORMAT, PIXEL_RANGE

METADATA_FILE = "metadata.json"
METADATA_KEY = "edgebn"
_KNOWN = (LABELS, PIXEL_FORMAT, PIXEL_RANGE)
_LARGEST = 1 << 20
"""Bytes of JSON that are read."""


def read_metadata(model_or_path: Any) -> dict[str, str]:
    """What a `.keras` file says of its pixels and classes, by the names in ONNX files; empty for any other model."""
    if not isinstance(model_or_path, str | Path) or not zipfile.is_zipfile(model_or_path):
        return {}
    try:
        with zipfile.ZipFile(model_or_path) as archive, archive.open(METADATA_FILE) as stream:
            said = json.loads(stream.read(_LARGEST))[METADATA_KEY]
        return {key: said[key] for key in _KNOWN if isinstance(said.get(key), str)}
    except (*files.DAMAGED_ZIP, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
