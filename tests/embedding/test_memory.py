"""Views and the memory plan, against numpy and against what a plan must keep."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgebn.embedding.c.memory import ALIGNMENT, Buffer, Operand, place, row_major

LIFETIMES = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9), st.integers(0, 4)), max_size=12)


@given(LIFETIMES)
def test_what_lives_at_the_same_time_lies_apart(drawn: list[tuple[int, int, int]]) -> None:
    lifetimes = [
        (Buffer(str(number), size, "scratch"), first, first + length)
        for number, (size, first, length) in enumerate(drawn)
    ]
    offsets, total = place(lifetimes)
    for index, (one, first, last) in enumerate(lifetimes):
        assert offsets[one] % ALIGNMENT == 0
        assert offsets[one] + one.size <= total
        for other, other_first, other_last in lifetimes[:index]:
            if first <= other_last and other_first <= last:
                assert offsets[one] + one.size <= offsets[other] or offsets[other] + other.size <= offsets[one]


def test_one_after_the_other_shares_its_place() -> None:
    chain = [(Buffer(str(number), 100, "scratch"), number, number + 1) for number in range(6)]
    assert place(chain)[1] == 204  # two at a time, the second aligned


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def elements(operand: Operand) -> np.ndarray:
    numbers = np.arange(operand.buffer.size, dtype=np.float32)[operand.offset :]
    return np.lib.stride_tricks.as_strided(numbers, operand.shape, [4 * stride for stride in operand.strides])


@given(SHAPES, st.data())
def test_views_are_what_numpy_makes(shape: tuple[int, ...], data: st.DataObject) -> None:
    operand = row_major(Buffer("b", prod(shape), "scratch"), shape)
    axes = data.draw(st.permutations(range(len(shape))))
    turned = operand.transposed(axes)
    expected = elements(operand).transpose(axes)
    np.testing.assert_array_equal(elements(turned), expected)
    factors = data.draw(st.permutations([*turned.shape, 1]))
    wanted = tuple(data.draw(st.sampled_from([turned.shape, tuple(factors), (prod(shape),), (*turned.shape, 1)])))
    reshaped = turned.reshaped(wanted)
    if reshaped is None:
        assert not np.shares_memory(expected, expected.reshape(wanted))
    else:
        np.testing.assert_array_equal(elements(reshaped), expected.reshape(wanted))
