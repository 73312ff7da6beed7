"""What long things look like on the terminal."""

from __future__ import annotations

from edgebn.cli import tables


def test_operators_of_a_short_graph_come_in_its_order_and_of_a_long_one_as_counts() -> None:
    assert tables.operators(["Conv", "Relu", "Conv"]) == "Conv Relu Conv"
    assert tables.operators(["Relu", *["Conv"] * 30, *["Relu"] * 2]) == "30 Conv, 3 Relu"
