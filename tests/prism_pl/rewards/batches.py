"""Two prompts with two responses each, to be graded."""

import torch

from prism_pl.types import Prompt, Response, Rollouts, SamplingOptions
from tests.responses import respond


def sampled(text: str) -> Response:
    return Response(token_ids=(1,), engine_logp=(0.0,), text=text, truncated=False)


def make_rollouts() -> Rollouts:
    def ask(answer: str) -> Prompt:
        return Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1), answer=answer)

    texts = [[respond(answer="3"), respond(answer="4")], ["3", respond(answer="7")]]
    responses = tuple(tuple(sampled(text) for text in group) for group in texts)
    return Rollouts((ask("3"), ask("7")), responses, SamplingOptions(max_new_tokens=1, group_size=2))
