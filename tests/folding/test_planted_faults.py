"""The random graphs would notice: every mistake that is planted in folding makes one of them compute something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from edgebn.algebra import LAWS
from edgebn.folding import routes
from tests.folding import noise
from tests.folding.faults import FAULTS, FAULTS_BESIDES, Fault
from tests.folding.graph_builder import RandomGraph
from tests.folding.random_graphs import CHOICES, build
from tests.folding.test_random_graphs import EXAMPLES, FLOAT64, assert_close, assert_valid, folded


@dataclass(frozen=True, eq=False)
class Example:
    """A random graph, what it computes, and the laws that were asked while it was folded."""

    graph: RandomGraph
    truth: list[noise.Noisy]
    laws: frozenset[str]

    def is_sound(self) -> bool:
        """Whether the folded graph computes the same; one that can not be folded does not."""
        try:
            for expected, actual in zip(self.truth, run_folded(self.graph), strict=True):
                assert_close(actual.value, expected, FLOAT64)
        except (AssertionError, KeyError, ValueError):
            return False
        return True


def run_folded(graph: RandomGraph) -> list[noise.Noisy]:
    return noise.run(folded(graph.read(double=True))[1], graph.inputs(3))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return list(observed(monkeypatch))


def observed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """As many graphs as are checked in each run of the tests."""
    cross, asked = routes.Router._cross, set()

    def cross_and_note(*given: Any) -> Any:
        outcome = cross(*given)
        asked.add(given[-1].steps[-1].law)
        return outcome

    monkeypatch.setattr(routes.Router, "_cross", cross_and_note)
    for index in range(EXAMPLES):
        asked.clear()
        graph = build(np.random.default_rng(index).bytes(CHOICES))
        run_folded(graph)
        yield Example(graph, noise.run(graph.read(), graph.inputs(3)), frozenset(asked))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_is_found(fault: Fault, examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    concerned = [example for example in examples if fault.law is None or fault.law in example.laws]
    fault.plant(monkeypatch)
    found = next((index for index, example in enumerate(concerned) if not example.is_sound()), None)
    assert found is not None


@pytest.mark.parametrize("fault", FAULTS_BESIDES, ids=lambda fault: fault.name)
def test_what_is_not_an_equation_is_found(
    fault: Fault, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault.plant(monkeypatch)
    with pytest.raises((AssertionError, onnx.shape_inference.InferenceError)):
        assert_all_valid(examples)


def assert_all_valid(examples: list[Example]) -> None:
    for example in examples:
        assert_valid(example.graph)


def test_without_a_fault_all_are_sound(examples: list[Example]) -> None:
    assert all(example.is_sound() for example in examples)


def test_every_law_is_asked(examples: list[Example]) -> None:
    assert set().union(*(example.laws for example in examples)) == {law.name for law in LAWS}
