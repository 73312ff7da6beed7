"""The truth that verify measures both by: the model in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebn import backends
from edgebn.loading import open_source
from edgebn.verifying.reference import Traced, float64_truth
from tests import keras_models


@pytest.mark.parametrize("signs", ["mixed", "dead"])
@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
def test_the_truth_is_what_the_textbook_computes_in_float64(architecture: str, signs: str) -> None:
    model, x = keras_models.textbook(architecture, signs), keras_models.samples(architecture)
    truth = float64_truth(open_source(model))
    assert truth is not None
    (result,) = truth.run((x,))
    assert result.dtype == np.float64
    # logits up to 1e3 behind dead channels, 1e-16 of which softmax passes on
    assert np.abs(result - keras_models.in_float64(model, x)).max() <= 1e-12


def test_the_truth_follows_the_weights_of_the_model_and_leaves_them_alone() -> None:
    model, x = keras_models.textbook("mlp"), keras_models.samples("mlp")
    before = [np.array(weight) for weight in model.get_weights()]
    truth = float64_truth(open_source(model))
    assert truth is not None
    outputs = truth.run((x,))
    (sensitivity,) = truth.sensitivity((x,), outputs)
    assert sensitivity.shape == (10,)
    assert (sensitivity > 0.0).all()
    assert (sensitivity < 1e-5).all()
    assert (truth.run((x,))[0] == outputs[0]).all()  # the rounded weights are gone again
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_no_truth_where_a_layer_can_not_be_built_again() -> None:
    class Special(backends.keras().layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return self.factor * x

    image = backends.keras().Input((3,))
    assert float64_truth(open_source(backends.keras().Model(image, Special(2.0)(image)))) is None


def test_keras_runs_in_batches_and_joins_them() -> None:
    model, x = keras_models.textbook("mlp"), keras_models.samples("mlp", 600)
    (result,) = Traced(open_source(model)).outputs((x,))
    (expected,) = keras_models.in_keras(model, x)
    assert result.shape == (600, 10)
    assert np.abs(result - expected).max() <= 1e-5  # graph and eager mode may sum in another order
