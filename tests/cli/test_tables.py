"""What long things look like on the terminal."""

from __future__ import annotations

from edgebn.cli import tables


def test_operators_of_a_short_graph_come_in_its_order_and_of_a_long_one_as_counts() -> None:
    assert tables.operators(["Conv", "Relu", "Conv"]) == "Conv Relu Conv"
    assert tables.operators(["Relu", *["Conv"] * 30, *["Relu"] * 2]) == "30 Conv, 3 Relu"


def test_a_size_has_the_unit_that_fits_it() -> None:
    sizes = (499, 218_900, 9_999_900, 10_200_000, 9_994_000_000, 10_183_860_200)
    assert [tables.size(each) for each in sizes] == [
        *("0.5 kB", "218.9 kB", "9,999.9 kB", "10.2 MB", "9,994.0 MB", "10.2 GB")
    ]
