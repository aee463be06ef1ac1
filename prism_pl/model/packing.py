"""The packed layout: groups one after the other, each a prompt once and all its segments, which see it and themselves.

    [prompt a][segment a1][segment a2]..[segment an][prompt b][segment b1]..
    allowed(i, j) = j <= i and (part_j = prefix_i or part_j = part_i)

part: the prompt or segment that a token belongs to; prefix: the prompt of its group. Positions of every segment continue
from its prompt, so a segment's hidden states equal those of the plain sequence prompt + segment (tested), while the prompt
and its image are computed once instead of n times. Nothing is padded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prism_pl.model.shared_prefix import Layout, Part, make_layout
from prism_pl.types import Prompt

_PAD = -1


@dataclass(frozen=True)
class Group:
    """A prompt and the token ids of the segments that continue it."""

    prompt: Prompt
    segments: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    """Each segment's index in the whole batch, so that results can be put back in order."""

    @property
    def num_tokens(self) -> int:
        return len(self.prompt.input_ids) + sum(len(segment) for segment in self.segments)


FILLER = Group(Prompt("filler", "", (0,), (0,), torch.zeros(3, 1, dtype=torch.long)), ((0,),), (0,))
"""Two tokens that a rank computes, and learns nothing from, while others have a micro-batch more."""


@dataclass(frozen=True)
class PackedBatch:
    """N tokens ready for a stock Qwen3-VL, and where to read each of the B segments."""

    input_ids_N: torch.Tensor
    positions_3N: torch.Tensor
    part_N: torch.Tensor
    """The prompt or segment of each token; -1 where padded."""
    prefix_N: torch.Tensor
    """The part that is the prompt of the token's group; the first one where padded, for no query may see nothing."""
    segment_N: torch.Tensor
    """Which of the B segments a token belongs to; -1 in prompts and padding."""
    layout: Layout
    pixel_values: torch.Tensor | None
    image_grid: torch.Tensor | None
    source_BT: torch.Tensor
    """Where the hidden state that predicts each segment token is."""
    target_BT: torch.Tensor
    """The segment's token ids, 0 where padded. Before them stand those of its prompt that are learnt, too."""
    token_mask_BT: torch.Tensor
    last_B: torch.Tensor
    """Where each segment's last token is."""
    order_B: torch.Tensor
    """Each segment's index in the whole batch."""

    @property
    def real_N(self) -> torch.Tensor:
        """False where padded."""
        return self.part_N != _PAD

    def to(self, device: torch.device) -> "PackedBatch":
        moved: dict[str, Any] = {k: v if v is None else v.to(device) for k, v in vars(self).items()}
        return PackedBatch(**moved)


def make_groups(prompts: Sequence[Prompt], segments: Sequence[Sequence[Sequence[int]]]) -> list[Group]:
    """One group a prompt; segments are numbered prompt-major over the batch. Empty segments are refused."""
    groups, count = [], 0
    for prompt, own in zip(prompts, segments, strict=True):
        assert all(own), f"{prompt.source}: an empty segment"
        groups.append(Group(prompt, tuple(tuple(ids) for ids in own), tuple(range(count, count + len(own)))))
        count += len(own)
    return groups


def micro_batches(groups: Sequence[Group], max_tokens: int) -> list[list[Group]]:
    """Splits groups into lists of at most ``max_tokens`` tokens, longest first, each in the first list with room.

    A group over the budget is split into several, each with its own copy of the prompt. A single segment that does not fit
    with its prompt still gets a list of its own.
    """
    parts = [part for group in groups for part in _split(group, max_tokens)]
    batches: list[list[Group]] = []
    used: list[int] = []
    for part in sorted(parts, key=lambda part: -part.num_tokens):
        index = next((i for i, tokens in enumerate(used) if tokens + part.num_tokens <= max_tokens), len(used))
        if index == len(used):
            batches.append([])
            used.append(0)
        batches[index].append(part)
        used[index] += part.num_tokens
    return batches


def _split(group: Group, max_tokens: int) -> list[Group]:
    """The fewest parts within the limit, as even as possible."""
    count = len(_filled(group, max_tokens))
    low, high = len(group.prompt.input_ids), max_tokens
    while count > 1 and low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(group, middle)) == count else (middle + 1, high)
    return _filled(group, high)


def _filled(group: Group, max_tokens: int) -> list[Group]:
    """Parts filled one after the other up to the limit; a segment that does not fit alone has a part of its own."""
    parts: list[Group] = []
    start, size = 0, len(group.prompt.input_ids)
    for index, segment in enumerate(group.segments):
        if index > start and size + len(segment) > max_tokens:
            parts.append(Group(group.prompt, group.segments[start:index], group.order[start:index]))
            start, size = index, len(group.prompt.input_ids)
        size += len(segment)
    parts.append(Group(group.prompt, group.segments[start:], group.order[start:]))
    return [part for part in parts if part.segments]


def pack(groups: Sequence[Group], num_tokens: int = 0, multiple: int = 1) -> PackedBatch:
    """Lays the groups out, one after the other, padded to ``num_tokens`` or more and to a ``multiple``."""
    length = max(num_tokens, sum(group.num_tokens for group in groups))
    length = -(-length // multiple) * multiple
    num_segments = sum(len(group.segments) for group in groups)
    longest = max(len(segment) + group.prompt.num_learnt for group in groups for segment in group.segments)
    input_ids_N = torch.zeros(length, dtype=torch.long)
    positions_3N = torch.zeros(3, length, dtype=torch.long)
    part_N, prefix_N, segment_N = (
        torch.full((length,), _PAD),
        torch.zeros(length, dtype=torch.long),
        torch.full((length,), -1),
    )
    source_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    target_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    token_mask_BT = torch.zeros(num_segments, longest, dtype=torch.bool)
    last_B = torch.zeros(num_segments, dtype=torch.long)
    parts: list[Part] = []
    end = b = num_parts = 0
    for group in groups:
        prefix, start, end = num_parts, end, end + len(group.prompt.input_ids)
        prompt = Part(start, end - start)
        # A segment that is alone follows its prompt directly: the two are one causal sequence, which needs no mask.
        alone = len(group.segments) == 1
        parts.append(Part(start, group.num_tokens) if alone else prompt)
        input_ids_N[start:end] = torch.tensor(group.prompt.input_ids)
        positions_3N[:, start:end] = group.prompt.positions_3T
        part_N[start:end] = prefix_N[start:end] = prefix
        next_position = int(group.prompt.positions_3T.max()) + 1
        prompt_end = end - 1
        # Earlier turns of a demonstration, which has one segment alone: counted twice they would be learnt twice.
        learnt = [start + place for first, after in group.prompt.learnt for place in range(first, after)]
        assert alone or not learnt
        for number, segment in enumerate(group.segments):
            size, start, end = len(segment), end, end + len(segment)
            input_ids_N[start:end] = torch.tensor(segment)
            positions_3N[:, start:end] = torch.arange(next_position, next_position + size)
            part_N[start:end] = prefix + 1 + number
            prefix_N[start:end] = prefix
            segment_N[start:end] = b
            # Each token is predicted by the hidden state before it, a segment's first one by the prompt's last.
            target_N = torch.tensor([*learnt, *range(start, end)])
            source_BT[b, : len(target_N)] = torch.tensor(
                [*(place - 1 for place in learnt), prompt_end, *range(start, end - 1)]
            )
            target_BT[b, : len(target_N)] = input_ids_N[target_N]
            token_mask_BT[b, : len(target_N)] = True
            last_B[b] = end - 1
            if not alone:
                parts.append(Part(start, size, prompt))
            b += 1
        num_parts += 1 + len(group.segments)
    pixel_values = [group.prompt.pixel_values for group in groups if group.prompt.pixel_values is not None]
    grids = [group.prompt.image_grid for group in groups if group.prompt.image_grid is not None]
    return PackedBatch(
        input_ids_N=input_ids_N,
        positions_3N=positions_3N,
        part_N=part_N,
        prefix_N=prefix_N,
        segment_N=segment_N,
        layout=make_layout(parts),
        pixel_values=torch.cat(pixel_values) if pixel_values else None,
        image_grid=torch.cat(grids) if grids else None,
        source_BT=source_BT,
        target_BT=target_BT,
        token_mask_BT=token_mask_BT,
        last_B=last_B,
        order_B=torch.tensor([index for group in groups for index in group.order]),
    )


def by_index(values_BT: torch.Tensor, packed: PackedBatch) -> dict[int, torch.Tensor]:
    """The values of each segment's tokens, without padding, by the segment's index in the whole batch."""
    order, masks = packed.order_B.tolist(), packed.token_mask_BT
    return {index: values[mask] for index, values, mask in zip(order, values_BT, masks, strict=True)}


@dataclass(frozen=True)
class Suspects:
    """Segments that may have made a loss not finite. It holds neither a graph nor the packed batch: many can be kept."""

    bad_B: torch.Tensor
    """True where something that the loss reads is not finite. Still on the device, which nobody has waited for."""
    order_B: torch.Tensor
    """Each segment's index in the whole batch."""
    name: Callable[[int], str]
    """From such an index to ``file:row`` and the segment's place there."""

    def names(self) -> list[str]:
        """The segments' names, by their indices. Waits for the device."""
        return [self.name(index) for index in sorted(self.order_B[self.bad_B].tolist())]


def nonfinite_segments(values_B: torch.Tensor, order_B: torch.Tensor, groups: Sequence[Group]) -> Suspects:
    """The segments of which some value is not finite, each as its prompt's ``file:row`` and its place among the prompt's.

    ``values_B`` may have further axes, and ``order_B`` is each segment's index in the whole batch, as in ``groups``.
    """

    def name(index: int) -> str:
        group = next(group for group in groups if index in group.order)
        return f"{group.prompt.source}, segment {group.order.index(index) + 1} of {len(group.order)}"

    bad_B = ~values_B.detach().isfinite()
    return Suspects(bad_B.flatten(1).any(1) if bad_B.ndim > 1 else bad_B, order_B, name)
