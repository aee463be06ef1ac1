"""Mistakes in a graph of stages are named, and what a stage is made from is found."""

from dataclasses import dataclass, field

import pytest

from prism_pl.errors import UserError
from prism_pl.runs.graph import check_graph, lineage


@dataclass(frozen=True)
class Node:
    name: str
    inputs: dict[str, str] = field(default_factory=dict)


GRAPH = [Node("base"), Node("sft", {"a": "base"}), Node("warmup", {"a": "sft"}), Node("align", {"a": "sft", "b": "warmup"})]


def test_lineage_has_every_stage_once_after_its_own_inputs() -> None:
    assert lineage(GRAPH, "align") == ["base", "sft", "warmup", "align"]
    assert lineage(GRAPH, "base") == ["base"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([Node("sft")], "stages: two have the name 'sft'"),
        (
            [Node("x", {"data.path": "algin"})],
            r"x: inputs.data.path: there is no stage 'algin'. Did you mean align\? Known are base, sft, warmup, align",
        ),
        ([Node("x", {"a": "y"}), Node("y", {"a": "x"})], "stages: x <- y <- x wait for one another"),
        ([Node("x", {"a": "x"})], "stages: x <- x wait for one another"),
        ([Node("a/b")], "stages: 'a/b' cannot be a stage's name"),
        ([Node(".hidden")], "stages: '.hidden' cannot be a stage's name"),
    ],
)
def test_a_mistake_is_named_with_its_key(more: list[Node], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_graph([*GRAPH, *more])
    check_graph(GRAPH)
