"""What is said of a smaller file holds what is wrong with it."""

from __future__ import annotations

import numpy as np

from edgebn.quantizing import measuring


def test_an_output_that_is_no_number_is_not_the_same() -> None:
    tally = measuring._Tally("y")
    tally.add(np.zeros((2, 3), np.float32), np.array([[0, np.nan, 0], [0, 0, 0]], np.float32), None)
    tally.add(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), None)
    assert np.isnan(tally.change().max_abs)
