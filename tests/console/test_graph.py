"""Lineage as a drawing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem.console.graph import HEIGHT, WIDTH, layout


def test_what_was_made_stands_right_of_what_it_was_made_from() -> None:
    drawn = layout(["m", "d", "x"], [("d", "m"), ("m", "x")])
    x = {box.ref: box.x for box in drawn.boxes}
    assert x["d"] < x["m"] < x["x"]
    assert [(curve.parent, curve.child) for curve in drawn.curves] == [("d", "m"), ("m", "x")]


def test_an_edge_that_skips_a_layer_leaves_room_for_itself() -> None:
    drawn = layout(["d", "m", "x"], [("d", "m"), ("m", "x"), ("d", "x")])
    y = {box.ref: box.y for box in drawn.boxes}
    long = next(curve for curve in drawn.curves if (curve.parent, curve.child) == ("d", "x"))
    assert drawn.height > 2 * HEIGHT  # the middle layer holds a box and the passing edge
    passing = int(long.path.split(" L")[1].split()[1])
    assert not y["m"] <= passing <= y["m"] + HEIGHT


def test_neighbours_are_sorted_to_cross_less() -> None:
    drawn = layout(["a", "b", "x", "y"], [("a", "y"), ("b", "x")])
    y = {box.ref: box.y for box in drawn.boxes}
    assert (y["a"] < y["b"]) == (y["y"] < y["x"])


def test_one_box_alone_and_none_at_all() -> None:
    assert len(layout(["only"], []).boxes) == 1
    assert layout([], []).boxes == ()


refs = st.integers(0, 11).map(str)


@given(st.lists(refs, max_size=12), st.lists(st.tuples(refs, refs), max_size=30))
def test_any_graph_is_drawn_without_overlap_and_within_its_bounds(nodes: list[str], edges: list[tuple[str, str]]) -> None:
    drawn = layout(nodes, edges)
    assert [box.ref for box in drawn.boxes] == list(dict.fromkeys(nodes))
    for box in drawn.boxes:
        assert 0 <= box.x <= drawn.width - WIDTH
        assert 0 <= box.y <= drawn.height - HEIGHT
    for place, one in enumerate(drawn.boxes):
        for other in drawn.boxes[place + 1 :]:
            assert one.x != other.x or abs(one.y - other.y) >= HEIGHT
    x = {box.ref: box.x for box in drawn.boxes}
    for curve in drawn.curves:
        assert x[curve.parent] < x[curve.child]
        assert (curve.parent, curve.child) in edges


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda edge: edge[0] < edge[1]), max_size=30))
def test_no_edge_of_a_real_lineage_is_left_out(edges: list[tuple[int, int]]) -> None:
    named = [(str(a), str(b)) for a, b in edges]
    drawn = layout([str(n) for n in range(12)], named)
    assert {(curve.parent, curve.child) for curve in drawn.curves} == set(named)
