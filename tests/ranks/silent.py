"""An engine that says nothing well-formed about some prompts."""

from collections.abc import Sequence
from dataclasses import replace

from prism_pl.types import Prompt, Response, SamplingOptions
from tests.modules.scripted import ScriptedEngine
from tests.responses import MALFORMED


class SilentEngine(ScriptedEngine):
    """Written responses; all are malformed for the prompts of these sources."""

    def __init__(self, sources: list[str]) -> None:
        self.sources = sources

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        written = super().generate(prompts, seeds, sampling)
        return [
            [self._malformed(response) for response in group] if prompt.source in self.sources else group
            for prompt, group in zip(prompts, written, strict=True)
        ]

    def _malformed(self, response: Response) -> Response:
        ids = (*self._tokenizer.encode(MALFORMED, add_special_tokens=False), self._tokenizer.eos_token_id)
        return replace(response, token_ids=ids, engine_logp=(-0.5,) * len(ids), text=MALFORMED)
