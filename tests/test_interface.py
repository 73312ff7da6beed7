"""The interface alone: what may be asked, and what is read back from metadata."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebn.errors import InputError, UsageError
from edgebn.interface import Interface, layout_of, recorded, reordering

NUMBERS = st.floats(-1e6, 1e6)
SCALES = NUMBERS.filter(lambda number: number != 0.0)


@given(
    st.builds(
        Interface,
        input=st.just("uint8"),
        scale=SCALES,
        mean=st.lists(NUMBERS, max_size=4).map(tuple),
        std=st.lists(SCALES, max_size=4).map(tuple),
        layout=st.sampled_from(["nchw", "nhwc", None]),
        output=st.sampled_from(["logits", "probabilities", "class", None]),
        labels=st.lists(st.text(min_size=1).filter(str.strip), max_size=5).map(tuple),
    )
)
def test_what_is_written_is_read_back_to_the_last_bit(interface: Interface) -> None:
    assert recorded(interface.metadata(("batch", 8, 8, 3), interface.layout), "file") == interface


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"input": "uint16"}, "input 'uint16': must be uint8"),
        ({"layout": "chwn"}, "must be nchw or nhwc"),
        ({"output": "labels"}, "must be logits or probabilities or class"),
        ({"input": "uint8", "scale": 0.0}, "^scale: must not be 0"),
        ({"input": "uint8", "std": (1.0, 0.0, 1.0)}, "^std: must not be 0"),
        ({"input": "uint8", "mean": (float("nan"),)}, "must be finite"),
        ({"input": "uint8", "mean": "0.5"}, "must be"),
        ({"input": "uint8", "mean": (None,)}, "must be a number"),
        ({"scale": 2.0}, "say --input uint8"),
        ({"mean": (1.0,)}, "say --input uint8"),
        ({"pixel_format": "Rgb8"}, "say --input uint8"),
        ({"labels": "abc"}, "must be a list of names"),
        ({"labels": ("a", " ")}, "one of them is empty"),
        ({"labels": ("a", 1)}, "must be a list of names"),
    ],
)
def test_what_may_not_be_asked(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Interface(**wrong)


@pytest.mark.parametrize(
    "damaged",
    [
        {"edgebn.input": "{"},
        {"edgebn.input": "[]"},
        {"edgebn.input": '{"dtype": "uint8", "scale": "x"}'},
        {"edgebn.input": '{"dtype": "uint8", "std": [0]}'},
        {"edgebn.input": "[" * 100_000},
        {"edgebn.layout": "?"},
        {"edgebn.output": "?"},
        {"edgebn.labels": '{"a": 1}'},
    ],
)
def test_damaged_metadata(damaged: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"file\.onnx: its metadata .* are damaged"):
        recorded(damaged, "file.onnx")


@pytest.mark.parametrize(
    ("shape", "usual", "layout"),
    [
        (("n", 3, 224, 224), "nhwc", "nchw"),
        (("n", 28, 28, 1), "nchw", "nhwc"),
        (("n", None, None, 3), "nchw", "nhwc"),
        (("n", 1, 64, 4), "nchw", "nchw"),
        (("n", 1, 64, 4), "nhwc", "nhwc"),
        (("n", 13, 64, 64), "nchw", "nchw"),
        (("n", 28, 28), "nhwc", None),
        ((), "nhwc", None),
    ],
)
def test_the_layout_is_told_by_the_channels(shape: tuple[Any, ...], usual: str, layout: str | None) -> None:
    assert layout_of(shape, usual) == layout


def test_there_and_back() -> None:
    there, back = reordering("nhwc", "nchw"), reordering("nchw", "nhwc")
    assert there is not None
    assert back is not None
    assert [there[axis] for axis in back] == [0, 1, 2, 3]
    assert reordering("nchw", "nchw") is reordering(None, "nchw") is None


def test_an_input_of_one_channel_has_one_number() -> None:
    with pytest.raises(UsageError, match="mean: has 2 numbers, but the model's input has 1 channel; give one number"):
        Interface(input="uint8", mean=(0.1, 0.2)).affine(1)
