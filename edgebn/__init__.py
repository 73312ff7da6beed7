"""edgebn: fold BatchNormalization exactly, export to ONNX, prove the result equal.

    import edgebn

    edgebn.train("cnn", "cnn.keras")
    edgebn.fold_export("cnn.keras", "cnn.onnx")
    assert edgebn.verify("cnn.keras", "cnn.onnx").passed

Importing edgebn loads nothing heavy; TensorFlow is imported by the first call that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgebn.version import __version__

if TYPE_CHECKING:
    from edgebn.benching.benchmark import bench
    from edgebn.embedding import embed
    from edgebn.errors import ConversionError, EdgebnError, InputError, OutputError, UsageError
    from edgebn.interface import Interface
    from edgebn.pipeline import fold_export, inspect
    from edgebn.training.fit import train
    from edgebn.verification import verify
    from edgebn.verifying.golden import replay

_HOMES = {
    "bench": "edgebn.benching.benchmark",
    "train": "edgebn.training.fit",
    "fold_export": "edgebn.pipeline",
    "inspect": "edgebn.pipeline",
    "Interface": "edgebn.interface",
    "verify": "edgebn.verification",
    "replay": "edgebn.verifying.golden",
    "embed": "edgebn.embedding",
    "EdgebnError": "edgebn.errors",
    "UsageError": "edgebn.errors",
    "InputError": "edgebn.errors",
    "OutputError": "edgebn.errors",
    "ConversionError": "edgebn.errors",
}

__all__ = [
    "ConversionError",
    "EdgebnError",
    "InputError",
    "Interface",
    "OutputError",
    "UsageError",
    "__version__",
    "bench",
    "embed",
    "fold_export",
    "inspect",
    "replay",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edgebn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
