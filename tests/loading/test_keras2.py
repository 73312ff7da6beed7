"""HDF5 files of Keras 2 load, if the keys that Keras 3 does not know say nothing new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebn import backends
from edgebn.errors import InputError
from edgebn.loading import open_source


def layer(config: Any, class_name: str) -> Any:
    return next(part["config"] for part in config["config"]["layers"] if part["class_name"] == class_name)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """A model with a layer of each troubled kind, and the file it was saved in."""
    keras = backends.keras()
    layers = keras.layers
    x = image = keras.Input((8, 8, 2))
    for made in (layers.DepthwiseConv2D(3), layers.SeparableConv2D(3, 3), layers.Conv2DTranspose(4, 3)):
        x = made(x)
    model = keras.Model(image, layers.GRU(3)(layers.Reshape((-1, 4))(x)))
    path = tmp_path / "model.h5"
    with backends.silenced():
        model.save(path)
    return model, path


def rewrite(path: Path, change: Any) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)


def as_keras_2_wrote_it(config: Any) -> None:
    for class_name in ("DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"):
        layer(config, class_name)["groups"] = 1
    layer(config, "GRU")["time_major"] = False
    separable = layer(config, "SeparableConv2D")
    separable.update(kernel_initializer=separable["depthwise_initializer"], kernel_regularizer=None)
    layer(config, "Conv2DTranspose")["kernel_initializer"]["config"]["dtype"] = "float32"


def test_keys_that_say_nothing_new_do_not_matter(saved: Any) -> None:
    model, path = saved
    rewrite(path, as_keras_2_wrote_it)
    before = path.read_bytes()
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
    (loaded,) = open_source(path).call(x)
    assert np.abs(np.asarray(loaded) - np.asarray(model(x))).max() == 0.0
    assert path.read_bytes() == before


def test_a_key_that_means_something_is_not_dropped(saved: Any) -> None:
    _, path = saved

    def two_groups(config: Any) -> None:
        layer(config, "Conv2DTranspose")["groups"] = 2

    rewrite(path, two_groups)
    with pytest.raises(InputError, match="Conv2DTranspose"):
        open_source(path)
