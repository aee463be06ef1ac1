"""Two prompts with two responses each, to be graded."""

import torch

from prism_pl.types import Prompt, PromptBatch, Response
from tests.responses import respond


def sampled(text: str) -> Response:
    return Response(token_ids=(1,), engine_logp=(0.0,), text=text, truncated=False)


def make_batch() -> PromptBatch:
    def ask(answer: str) -> Prompt:
        return Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1), answer=answer)

    texts = [[respond(answer="3"), respond(answer="4")], ["3", respond(answer="7")]]
    return PromptBatch([ask("3"), ask("7")], [[sampled(text) for text in group] for group in texts])
