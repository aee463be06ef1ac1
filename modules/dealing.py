"""A rollout batch dealt anew to the ranks, so that each has about as many tokens to learn from.

Each rank samples the prompts that fall to it; how long the responses are, and which of them teach anything, is known only
then. A group goes to another rank as its responses and its prompt's name ``file:row``; the rank that takes it reads the
prompt again, for pixels are more than all else. What is learnt does not change: which update a group is part of, and its
place in the whole batch, stay as they were.
"""

from collections.abc import Sequence

import torch

from modules.stage import StageModule
from prism_pl.contracts import PromptSource, require
from prism_pl.data.balance import deal
from prism_pl.types import Rollouts


def group_tokens(rollouts: Rollouts, learnt_P: torch.Tensor | None = None) -> list[int]:
    """Tokens of each prompt with its responses; 0 for the groups that are not learnt from."""
    prompt_P = torch.tensor([len(prompt.input_ids) for prompt in rollouts.prompts])
    tokens_P = prompt_P + rollouts.length_PG.sum(1)
    return (tokens_P if learnt_P is None else tokens_P * learnt_P).tolist()


def deal_rollouts(stage: StageModule, rollouts: Rollouts, tokens: Sequence[int], mini_batches: int) -> Rollouts:
    """This rank's new share, by the ``tokens`` that each group costs. A collective; one process keeps what it has."""
    if stage.trainer.world_size == 1:
        return rollouts
    own = stage.places(len(tokens))
    places = deal(stage.whole_batch(list(tokens)), stage.trainer.world_size, mini_batches)[stage.global_rank]
    held = dict(zip(own, zip(rollouts.prompts, rollouts.responses, strict=True), strict=True))
    given = {place: (prompt.source, group) for place, (prompt, group) in held.items() if place not in places}
    others = {place: entry for share in stage.gather(given) for place, entry in share.items()}
    taken = [place for place in places if place not in held]
    if taken:
        data = require(stage.trainer.datamodule, PromptSource, type(stage).__name__)  # type: ignore[attr-defined]
        read = data.by_source([others[place][0] for place in taken])
        held |= {place: (prompt, others[place][1]) for place, prompt in zip(taken, read, strict=True)}
    prompts, responses = zip(*(held[place] for place in places), strict=True)
    return Rollouts(prompts, responses, rollouts.sampling, tuple(places))


def dealt_rows(stage: StageModule, own_PG: torch.Tensor, dealt: Rollouts) -> torch.Tensor:
    """The rows of ``dealt`` groups, of which each rank has those of the groups that it sampled."""
    return own_PG if dealt.places is None else torch.stack(stage.whole_batch(list(own_PG)))[list(dealt.places)]
