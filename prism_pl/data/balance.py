"""Rows shared out over ranks so that each has about as many tokens: an update takes as long as the rank with the most.

The largest differencing method (Karmarkar and Karp, 1982; more than two parts: Korf, 2011), which verl's
``seqlen_balancing`` uses, too. It starts from many partial divisions and joins, again and again, the two that are most
uneven, so that the heaviest parts of one meet the lightest of the other.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Division:
    """Some of the items divided into R parts, the heaviest first."""

    sums: tuple[float, ...]
    parts: tuple[tuple[int, ...], ...]

    @property
    def spread(self) -> float:
        return self.sums[0] - self.sums[-1]

    def joined(self, other: "_Division") -> "_Division":
        """Of all items of the two; it is no more uneven than the more uneven one of them."""
        pairs = [
            (own_sum + other_sum, own + others)
            for own_sum, own, other_sum, others in zip(
                self.sums, self.parts, reversed(other.sums), reversed(other.parts), strict=True
            )
        ]
        pairs.sort(key=lambda pair: -pair[0])
        return _Division(tuple(total for total, _ in pairs), tuple(items for _, items in pairs))


def balanced(weights: Sequence[float], num_parts: int, *, equal_counts: bool = False) -> list[list[int]]:
    """The indices of positive ``weights`` in ``num_parts`` parts with sums as equal as possible, each part ascending.

    The sums differ by no more than the largest weight. With ``equal_counts`` every part has as many items, by no more than
    the largest weight less the smallest; their number must then be a multiple of ``num_parts``. It is a function of its
    arguments alone, so all ranks find the same parts.
    """
    order = sorted(range(len(weights)), key=lambda item: (-weights[item], item))
    if equal_counts:
        assert len(weights) % num_parts == 0, f"{len(weights)} items in {num_parts} parts"
        starts = [order[first : first + num_parts] for first in range(0, len(order), num_parts)]
    else:
        starts = [[item] for item in order]
    heap: list[tuple[float, int, _Division]] = []
    for number, items in enumerate(starts):
        sums = [*(float(weights[item]) for item in items), *[0.0] * (num_parts - len(items))]
        parts = [*((item,) for item in items), *[()] * (num_parts - len(items))]
        division = _Division(tuple(sums), tuple(parts))
        heap.append((-division.spread, number, division))
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) > 1:
        division = heapq.heappop(heap)[2].joined(heapq.heappop(heap)[2])
        heapq.heappush(heap, (-division.spread, number, division))
        number += 1
    found = heap[0][2].parts if heap else ((),) * num_parts
    return sorted(sorted(part) for part in found)


def deal(tokens: Sequence[float], num_ranks: int, num_parts: int = 1) -> list[list[int]]:
    """Each rank's places in a batch whose groups have this many ``tokens``: equally many, with tokens as equal as possible.

    The batch is learnt in ``num_parts`` updates. A rank takes them from its places in order, as ``tensor_split`` does, so
    each is dealt by itself: which update a group is part of does not depend on how it is dealt, nor on how many ranks there
    are.
    """
    size, more = divmod(len(tokens) // num_ranks, num_parts)
    own: list[list[int]] = [[] for _ in range(num_ranks)]
    start = 0
    for part in range(num_parts):
        stop = start + (size + (part < more)) * num_ranks
        for rank, items in enumerate(balanced(tokens[start:stop], num_ranks, equal_counts=True)):
            own[rank] += [start + item for item in items]
        start = stop
    return own
