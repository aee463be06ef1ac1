"""An engine whose responses are written, not sampled: the start model's would all be malformed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from transformers import AutoTokenizer

from prism_pl.engines import RolloutEngine
from prism_pl.hub import model_folder
from prism_pl.types import Prompt, Response, SamplingOptions
from tests.responses import MALFORMED, respond


class ScriptedEngine(RolloutEngine):
    """Every fourth response is malformed, the others differ with the prompt's seed; the weights do not matter."""

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(model_folder(model, "test"))

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        return [[self._response(seed + g, g) for g in range(sampling.group_size)] for seed in seeds]

    def _response(self, seed: int, g: int) -> Response:
        text = MALFORMED if g % 4 == 3 else respond(f"- {seed % 7} and {seed % 5}.", f"Sum {seed % 3}.", str(seed % 10))
        ids = (*self._tokenizer.encode(text, add_special_tokens=False), self._tokenizer.eos_token_id)
        return Response(ids, (-0.5,) * len(ids), text, truncated=False)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        for _ in weights:
            pass

    def close(self) -> None: ...


class WordyEngine(ScriptedEngine):
    """Answers in words that no rule reads as a number."""

    def _response(self, seed: int, g: int) -> Response:
        written = super()._response(seed, g)
        return replace(written, text=written.text.replace("<answer>", f"<answer>either {seed % 1009} or "))
