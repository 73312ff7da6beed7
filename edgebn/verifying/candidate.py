"""The file that is held against the reference, opened."""

from __future__ import annotations

from dataclasses import dataclass

from edgebn.verifying.matching import Match
from edgebn.verifying.onnx_files import OnnxFile
from edgebn.verifying.sessions import Runtime


@dataclass(frozen=True, eq=False)
class Candidate:
    """The file under suspicion, its runtimes, and how its tensors match the reference's."""

    file: OnnxFile
    runtimes: tuple[Runtime, ...]
    match: Match

    @property
    def usual(self) -> Runtime:
        """As most apps run it: with all optimisations."""
        return next((each for each in self.runtimes if each.level == "all"), self.runtimes[0])
