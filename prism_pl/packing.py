"""The packed layout: a row holds groups, a group a prompt once and all its segments, each seeing the prompt and itself.

    [prompt a][segment a1][segment a2]..[segment an][prompt b][segment b1]..
    allowed(i, j) = j <= i and (part_j = home_i or part_j = part_i)

part: the prompt or segment that a token belongs to; home: the prompt of its group. Positions of every segment continue from
its prompt, so a segment's hidden states equal those of the plain sequence prompt + segment (tested), while the prompt and
its image are computed once instead of n times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from prism_pl.types import Prompt

_PAD = -1
# Row length at which attention over the row costs about as much as everything else (measured on the embedded model;
# larger models are wider, so theirs is longer and rows could be too).
_ATTENTION_BREAK_EVEN = 8192


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


@dataclass(frozen=True)
class PackedBatch:
    """R padded rows ready for a stock Qwen3-VL, and where to read each of the B segments. ``RL`` indices are flat."""

    input_ids_RL: torch.Tensor
    positions_3RL: torch.Tensor
    part_RL: torch.Tensor
    """The prompt or segment of each token, numbered in its row; -1 where padded."""
    home_RL: torch.Tensor
    """The part that is the prompt of the token's group; the first one where padded, for no query may see nothing."""
    real_RL: torch.Tensor
    """False where padded."""
    owner_RL: torch.Tensor
    """Which of the B segments a token belongs to; -1 in prompts and padding."""
    pixel_values: torch.Tensor | None
    image_grid: torch.Tensor | None
    source_BT: torch.Tensor
    """Flat index of the hidden state that predicts each segment token."""
    target_BT: torch.Tensor
    """The segment's token ids, 0 where padded."""
    token_mask_BT: torch.Tensor
    last_B: torch.Tensor
    """Flat index of each segment's last token."""
    order_B: torch.Tensor
    """Each segment's index in the whole batch."""

    def to(self, device: torch.device) -> "PackedBatch":
        moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(self).items()}
        return PackedBatch(**moved)

    def model_inputs(self, attention: str = "sdpa") -> dict[str, Any]:
        """Keyword arguments of transformers' ``Qwen3VLModel.forward`` for one of its attention implementations."""
        return {
            "input_ids": self.input_ids_RL,
            "position_ids": self.positions_3RL,
            "attention_mask": self.block_mask() if attention == "flex_attention" else self.dense_mask(),
            "pixel_values": self.pixel_values,
            "image_grid_thw": self.image_grid,
        }

    def dense_mask(self) -> torch.Tensor:
        """(R, 1, L, L), True where a query (row of the matrix) may attend to a key."""
        part_R1L, part_RL1, home_RL1 = self.part_RL[:, None, :], self.part_RL[:, :, None], self.home_RL[:, :, None]
        length = self.part_RL.shape[1]
        causal_LL = torch.ones(length, length, dtype=torch.bool, device=self.part_RL.device).tril()
        seen_RLL = ((part_R1L == home_RL1) | (part_R1L == part_RL1)) & (part_R1L != _PAD)
        return (seen_RLL & causal_LL)[:, None]

    def block_mask(self) -> BlockMask:
        """The same for FlexAttention: blocks that no query of theirs may see are never computed."""
        part_RL, home_RL = self.part_RL, self.home_RL

        def allowed(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            part = part_RL[row, key]
            seen = (part == home_RL[row, query]) | (part == part_RL[row, query])
            return (query >= key) & seen & (part != _PAD)

        rows, length = part_RL.shape
        return create_block_mask(allowed, rows, None, length, length, device=part_RL.device)


def make_groups(prompts: Sequence[Prompt], segments: Sequence[Sequence[Sequence[int]]]) -> list[Group]:
    """One group a prompt; segments are numbered prompt-major over the batch. Empty segments are refused."""
    groups, count = [], 0
    for prompt, own in zip(prompts, segments, strict=True):
        assert all(own), f"{prompt.source}: an empty segment"
        groups.append(Group(prompt, tuple(tuple(ids) for ids in own), tuple(range(count, count + len(own)))))
        count += len(own)
    return groups


def micro_batches(groups: Sequence[Group], max_tokens: int, row_tokens: int = 0) -> list[list[Group]]:
    """Splits groups into lists whose padded rows, as ``pack`` lays them out, hold at most ``max_tokens`` tokens.

    Rows are as long as the longest group, or ``row_tokens`` if that is more. A group is split into several, each with its
    own copy of the prompt, if it is over the budget or the length of a row; by default that is where one long row would
    cost more in attention than several cost in prompts. A single segment that does not fit with its prompt still gets a row
    of its own.
    """
    parts: list[Group] = []
    for group in groups:
        parts += _split(group, min(max_tokens, row_tokens or _best_row(len(group.prompt.input_ids))))
    batches: list[list[Group]] = []
    rows: list[int] = []
    # Longest first: the first of a batch sets the length of its rows.
    for part in sorted(parts, key=lambda part: -part.num_tokens):
        length = max(batches[-1][0].num_tokens, row_tokens) if batches else 0
        if not batches or (not _placed(rows, length, part) and length * (len(rows) + 1) > max_tokens):
            batches.append([])
            rows, length = [], max(part.num_tokens, row_tokens)
        _place(rows, length, part)
        batches[-1].append(part)
    return batches


def _placed(rows: list[int], length: int, group: Group) -> bool:
    """Whether one of the rows, given by their tokens, has room for the group."""
    return any(used + group.num_tokens <= length for used in rows)


def _place(rows: list[int], length: int, group: Group) -> int:
    """Adds the group to the first row with room, or to a new one; the row's index."""
    for row, used in enumerate(rows):
        if used + group.num_tokens <= length:
            rows[row] += group.num_tokens
            return row
    rows.append(group.num_tokens)
    return len(rows) - 1


def _best_row(prompt: int) -> int:
    """The row length at which a segment's share of the row's cost, (L + L^2 / E) / (L - prompt), is least."""
    return prompt + math.isqrt(prompt * (prompt + _ATTENTION_BREAK_EVEN))


def _split(group: Group, max_tokens: int) -> list[Group]:
    """The fewest parts within the limit, as even as possible: a short last one would leave its row padded."""
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


def pack(groups: Sequence[Group], row_tokens: int = 0, multiple: int = 1) -> PackedBatch:
    """Lays the groups out, each in the first row with room, as ``micro_batches`` counts them.

    Rows are padded to the fullest one, rounded up to a ``multiple``.
    """
    room = max(row_tokens, *(group.num_tokens for group in groups))
    used: list[int] = []
    rows: list[list[Group]] = []
    for group in groups:
        row = _place(used, room, group)
        if row == len(rows):
            rows.append([])
        rows[row].append(group)
    length = -(-max(used) // multiple) * multiple
    num_segments = sum(len(group.segments) for group in groups)
    longest = max(len(segment) for group in groups for segment in group.segments)
    shape = len(rows), length
    input_ids_RL = torch.zeros(shape, dtype=torch.long)
    positions_3RL = torch.zeros(3, *shape, dtype=torch.long)
    part_RL, home_RL, owner_RL = torch.full(shape, _PAD), torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    source_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    target_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    token_mask_BT = torch.zeros(num_segments, longest, dtype=torch.bool)
    last_B = torch.zeros(num_segments, dtype=torch.long)
    b = 0
    for row, members in enumerate(rows):
        end = part = 0
        for group in members:
            home, start, end = part, end, end + len(group.prompt.input_ids)
            input_ids_RL[row, start:end] = torch.tensor(group.prompt.input_ids)
            positions_3RL[:, row, start:end] = group.prompt.positions_3T
            part_RL[row, start:end] = home_RL[row, start:end] = home
            next_position = int(group.prompt.positions_3T.max()) + 1
            prompt_end = row * length + end - 1
            for segment in group.segments:
                part += 1
                start, end = end, end + len(segment)
                size, flat = len(segment), row * length + start
                ids = torch.tensor(segment)
                input_ids_RL[row, start:end] = ids
                positions_3RL[:, row, start:end] = torch.arange(next_position, next_position + size)
                part_RL[row, start:end] = part
                home_RL[row, start:end] = home
                owner_RL[row, start:end] = b
                # The prompt's last hidden state predicts the first token, each token the next one.
                source_BT[b, 0] = prompt_end
                source_BT[b, 1:size] = torch.arange(flat, flat + size - 1)
                target_BT[b, :size] = ids
                token_mask_BT[b, :size] = True
                last_B[b] = flat + size - 1
                b += 1
            part += 1
    laid_out = [group for members in rows for group in members]
    pixel_values = [group.prompt.pixel_values for group in laid_out if group.prompt.pixel_values is not None]
    grids = [group.prompt.image_grid for group in laid_out if group.prompt.image_grid is not None]
    return PackedBatch(
        input_ids_RL=input_ids_RL,
        positions_3RL=positions_3RL,
        part_RL=part_RL,
        home_RL=home_RL,
        real_RL=part_RL != _PAD,
        owner_RL=owner_RL,
        pixel_values=torch.cat(pixel_values) if pixel_values else None,
        image_grid=torch.cat(grids) if grids else None,
        source_BT=source_BT,
        target_BT=target_BT,
        token_mask_BT=token_mask_BT,
        last_B=last_B,
        order_B=torch.tensor([index for group in laid_out for index in group.order]),
    )


def by_index(values_BT: torch.Tensor, packed: PackedBatch) -> dict[int, torch.Tensor]:
    """The values of each segment's tokens, without padding, by the segment's index in the whole batch."""
    order, masks = packed.order_B.tolist(), packed.token_mask_BT
    return {index: values[mask] for index, values, mask in zip(order, values_BT, masks, strict=True)}
