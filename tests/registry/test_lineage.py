"""From a version up to what it was made from and down to what was made of it."""

from __future__ import annotations

import pytest

from tandem.core.asset import Ref
from tandem.core.errors import Invalid, NotFound
from tandem.governance.authorise import ALL, Scope
from tandem.registry.nouns import Edge
from tests.registry.conftest import House, person


@pytest.fixture
def chain(here: House) -> House:
    """d0 → d1 → d2 → d3, and both d1 and d2 are parents of d4."""
    for number in range(4):
        parents = () if number == 0 else (f"dataset/d{number - 1}",)
        publish(here, f"d{number}", parents)
    publish(here, "d4", ("dataset/d1", "dataset/d2"))
    return here


def publish(here: House, name: str, parents: tuple[str, ...], team: str = "risk") -> None:
    here.registry.publish(
        "dataset", name, members={"x": name.encode()}, meta={"schema": ["a"]}, parents=parents, by=person("admin", team)
    )


def shape(here: House, name: str, depth: int, scope: Scope = ALL) -> tuple[list[str], set[tuple[str, str]]]:
    found = here.registry.lineage(Ref.parse(f"dataset/{name}"), depth, scope)
    assert all(isinstance(edge, Edge) for edge in found.edges)
    assert len(set(found.edges)) == len(found.edges)
    return [node.name for node in found.nodes], {(edge.child[8:10], edge.parent[8:10]) for edge in found.edges}


def test_it_goes_up_and_down(chain: House) -> None:
    nodes, edges = shape(chain, "d1", 9)
    assert nodes[0] == "d1"
    assert sorted(nodes) == ["d0", "d1", "d2", "d3", "d4"]
    assert edges == {("d1", "d0"), ("d2", "d1"), ("d3", "d2"), ("d4", "d1"), ("d4", "d2")}


def test_it_stops_at_its_depth(chain: House) -> None:
    assert shape(chain, "d1", 0) == (["d1"], set())
    assert sorted(shape(chain, "d3", 1)[0]) == ["d2", "d3"]
    assert sorted(shape(chain, "d3", 2)[0]) == ["d1", "d2", "d3"]


def test_it_shows_ancestors_and_descendants_but_not_cousins(chain: House) -> None:
    assert sorted(shape(chain, "d3", 9)[0]) == ["d0", "d1", "d2", "d3"]
    assert sorted(shape(chain, "d4", 9)[0]) == ["d0", "d1", "d2", "d4"]


def test_a_version_knows_its_parents_in_order(chain: House) -> None:
    assert chain.registry.find(Ref.parse("dataset/d4"), ALL).parents == ("dataset/d1@1", "dataset/d2@1")


def test_what_another_team_made_of_it_is_left_out(chain: House) -> None:
    publish(chain, "d5", ("dataset/d3",), team="sales")
    assert "d5" in shape(chain, "d3", 1)[0]
    assert shape(chain, "d3", 1, Scope("risk")) == (["d3", "d2"], {("d3", "d2")})


@pytest.mark.parametrize("depth", [-1, 33])
def test_its_depth_is_bounded(chain: House, depth: int) -> None:
    with pytest.raises(Invalid):
        shape(chain, "d1", depth)


def test_nothing_has_no_lineage(here: House) -> None:
    with pytest.raises(NotFound):
        shape(here, "ghost", 1)
