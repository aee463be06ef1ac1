"""The packed layout: one row holds a prompt once and all its segments, each of which sees the prompt and itself.

    [prompt 0][segment 1][segment 2]..[segment n]
    allowed(i, j) = j <= i and (segment_j = 0 or segment_j = segment_i)

Positions of every segment continue from the prompt, so a segment's hidden states equal those of the plain sequence
prompt + segment (tested), while the prompt and its image are computed once instead of n times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    mask_R1LL: torch.Tensor
    """True where a query (row of the matrix) may attend to a key."""
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

    def model_inputs(self) -> dict[str, torch.Tensor | None]:
        """Keyword arguments of transformers' ``Qwen3VLModel.forward``."""
        return {
            "input_ids": self.input_ids_RL,
            "position_ids": self.positions_3RL,
            "attention_mask": self.mask_R1LL,
            "pixel_values": self.pixel_values,
            "image_grid_thw": self.image_grid,
        }


def make_groups(prompts: Sequence[Prompt], segments: Sequence[Sequence[Sequence[int]]]) -> list[Group]:
    """One group a prompt; segments are numbered prompt-major over the batch. Empty segments are refused."""
    groups, count = [], 0
    for prompt, own in zip(prompts, segments, strict=True):
        assert all(own), f"{prompt.source}: an empty segment"
        groups.append(Group(prompt, tuple(tuple(ids) for ids in own), tuple(range(count, count + len(own)))))
        count += len(own)
    return groups


def micro_batches(groups: Sequence[Group], max_tokens: int) -> list[list[Group]]:
    """Splits groups into lists whose padded rows hold at most ``max_tokens`` tokens, longest first.

    A group is split into several rows, each with its own copy of the prompt, if it is over the budget, or if one long row
    would cost more in attention than several cost in prompts. A single segment that does not fit with its prompt still gets
    a row of its own.
    """
    rows = sorted(
        (part for group in groups for part in _split(group, min(max_tokens, _best_row(len(group.prompt.input_ids))))),
        key=lambda g: -g.num_tokens,
    )
    batches: list[list[Group]] = []
    for row in rows:
        # Rows are sorted, so the first of a batch sets its padded length.
        if batches and batches[-1][0].num_tokens * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _best_row(prompt: int) -> int:
    """The row length at which a segment's share of the row's cost, (L + L^2 / E) / (L - prompt), is least."""
    return prompt + math.isqrt(prompt * (prompt + _ATTENTION_BREAK_EVEN))


def _split(group: Group, max_tokens: int) -> list[Group]:
    parts: list[Group] = []
    start, size = 0, len(group.prompt.input_ids)
    for index, segment in enumerate(group.segments):
        if index > start and size + len(segment) > max_tokens:
            parts.append(Group(group.prompt, group.segments[start:index], group.order[start:index]))
            start, size = index, len(group.prompt.input_ids)
        size += len(segment)
    parts.append(Group(group.prompt, group.segments[start:], group.order[start:]))
    return [part for part in parts if part.segments]


def pack(groups: Sequence[Group]) -> PackedBatch:
    """Lays the groups out, one a row."""
    num_rows, length = len(groups), max(group.num_tokens for group in groups)
    num_segments = sum(len(group.segments) for group in groups)
    longest = max(len(segment) for group in groups for segment in group.segments)
    input_ids_RL = torch.zeros(num_rows, length, dtype=torch.long)
    positions_3RL = torch.zeros(3, num_rows, length, dtype=torch.long)
    segment_RL = torch.full((num_rows, length), _PAD)
    owner_RL = torch.full((num_rows, length), -1)
    source_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    target_BT = torch.zeros(num_segments, longest, dtype=torch.long)
    token_mask_BT = torch.zeros(num_segments, longest, dtype=torch.bool)
    last_B = torch.zeros(num_segments, dtype=torch.long)
    b = 0
    for row, group in enumerate(groups):
        start = len(group.prompt.input_ids)
        input_ids_RL[row, :start] = torch.tensor(group.prompt.input_ids)
        positions_3RL[:, row, :start] = group.prompt.positions_3T
        segment_RL[row, :start] = 0
        next_position = int(group.prompt.positions_3T.max()) + 1
        prompt_end = row * length + start - 1
        for number, segment in enumerate(group.segments, start=1):
            size = len(segment)
            ids = torch.tensor(segment)
            input_ids_RL[row, start : start + size] = ids
            positions_3RL[:, row, start : start + size] = torch.arange(next_position, next_position + size)
            segment_RL[row, start : start + size] = number
            owner_RL[row, start : start + size] = b
            flat = row * length + start
            # The prompt's last hidden state predicts the first token, each token the next one.
            source_BT[b, 0] = prompt_end
            source_BT[b, 1:size] = torch.arange(flat, flat + size - 1)
            target_BT[b, :size] = ids
            token_mask_BT[b, :size] = True
            last_B[b] = flat + size - 1
            start += size
            b += 1
    pixel_values = [group.prompt.pixel_values for group in groups if group.prompt.pixel_values is not None]
    grids = [group.prompt.image_grid for group in groups if group.prompt.image_grid is not None]
    return PackedBatch(
        input_ids_RL=input_ids_RL,
        positions_3RL=positions_3RL,
        mask_R1LL=_attention_mask(segment_RL)[:, None],
        real_RL=segment_RL != _PAD,
        owner_RL=owner_RL,
        pixel_values=torch.cat(pixel_values) if pixel_values else None,
        image_grid=torch.cat(grids) if grids else None,
        source_BT=source_BT,
        target_BT=target_BT,
        token_mask_BT=token_mask_BT,
        last_B=last_B,
        order_B=torch.tensor([index for group in groups for index in group.order]),
    )


def _attention_mask(segment_RL: torch.Tensor) -> torch.Tensor:
    """(R, L, L). No row is empty, for a softmax over no key would be NaN: padding sees its prompt, and nothing sees it."""
    query_RL1, key_R1L = segment_RL[:, :, None], segment_RL[:, None, :]
    length = segment_RL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool).tril()
    return ((key_R1L == 0) | (key_R1L == query_RL1)) & causal_LL & (key_R1L != _PAD)


def unpad(values_BT: torch.Tensor, mask_BT: torch.Tensor) -> list[torch.Tensor]:
    """The valid values of each segment, without padding."""
    return [values[mask] for values, mask in zip(values_BT, mask_BT, strict=True)]
