"""transformers' own ``generate`` on a copy of the policy: slower than vLLM on a GPU, nothing to install."""

from collections.abc import Iterable, Sequence

import torch
from transformers import AutoProcessor, LogitsProcessor, LogitsProcessorList, TopPLogitsWarper

from prism_pl.engines.base import RolloutEngine, preserved_random_state
from prism_pl.hub import policy_folder
from prism_pl.model.logprobs import SUPPRESSED_LOGIT
from prism_pl.model.policy import Policy, suppressed_tokens
from prism_pl.ranges import PositiveInt
from prism_pl.types import Prompt, Response, SamplingOptions


class TransformersEngine(RolloutEngine):
    """A replica of the policy and Hugging Face's generation loop.

    Args:
        device: where the replica lives; ``auto`` takes a GPU if there is one.
        batch_size: sequences decoded at once.
    """

    def __init__(self, device: str = "auto", batch_size: PositiveInt = 512) -> None:
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self.batch_size = batch_size

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        with preserved_random_state():
            self._policy = Policy.load(model, "the engine's model").to(self.device).eval()
        self._processor = AutoProcessor.from_pretrained(policy_folder(model, "the engine's model"))

    @torch.no_grad()
    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        sequences = [
            (prompt, seed + index)
            for prompt, seed in zip(prompts, seeds, strict=True)
            for index in range(sampling.group_size)
        ]
        responses: list[Response] = []
        for start in range(0, len(sequences), self.batch_size):
            responses += self._generate(sequences[start : start + self.batch_size], sampling)
        size = sampling.group_size
        return [responses[start : start + size] for start in range(0, len(responses), size)]

    def _generate(self, sequences: Sequence[tuple[Prompt, int]], sampling: SamplingOptions) -> list[Response]:
        prompts = [prompt for prompt, _ in sequences]
        length = max(len(prompt.input_ids) for prompt in prompts)
        pad_id = self._processor.tokenizer.pad_token_id
        input_ids_BT = torch.tensor([[pad_id] * (length - len(p.input_ids)) + list(p.input_ids) for p in prompts])
        mask_BT = torch.tensor([[0] * (length - len(p.input_ids)) + [1] * len(p.input_ids) for p in prompts])
        with_images = [prompt for prompt in prompts if prompt.pixel_values is not None]
        images = {}
        if with_images:
            images["pixel_values"] = torch.cat([p.pixel_values for p in with_images if p.pixel_values is not None]).to(
                self.device
            )
            images["image_grid_thw"] = torch.cat([p.image_grid for p in with_images if p.image_grid is not None]).to(
                self.device
            )
        suppressed = torch.tensor(suppressed_tokens(self._policy.vlm.config), device=self.device)
        processors = LogitsProcessorList([_Suppress(suppressed)])
        if sampling.temperature > 0:
            generators = [torch.Generator(self.device).manual_seed(seed) for _, seed in sequences]
            processors.append(_GumbelSampling(sampling.temperature, sampling.top_p, generators))
        output = self._policy.vlm.generate(
            input_ids=input_ids_BT.to(self.device),
            attention_mask=mask_BT.to(self.device),
            mm_token_type_ids=(input_ids_BT == self._processor.image_token_id).int().to(self.device),
            **images,
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            logits_processor=processors,
            output_logits=True,
            return_dict_in_generate=True,
        )
        new_BT = output.sequences[:, length:]
        scale = sampling.temperature or 1.0
        # One step at a time: the whole (tokens x vocabulary) stack is never turned into probabilities at once.
        logp_BT = torch.stack(
            [
                torch.log_softmax(logits_BV.float().index_fill(-1, suppressed, SUPPRESSED_LOGIT) / scale, -1)
                .gather(-1, new_BT[:, t, None])
                .squeeze(-1)
                for t, logits_BV in enumerate(output.logits)
            ],
            dim=1,
        )
        return [self._response(ids, logp) for ids, logp in zip(new_BT.tolist(), logp_BT.tolist(), strict=True)]

    def _response(self, ids: list[int], logp: list[float]) -> Response:
        stops = self._policy.vlm.generation_config.eos_token_id
        stops = {stops} if isinstance(stops, int) else set(stops)
        end = next((index + 1 for index, token in enumerate(ids) if token in stops), None)
        kept = ids[:end]
        text = self._processor.tokenizer.decode(kept, skip_special_tokens=True)
        return Response(tuple(kept), tuple(logp[: len(kept)]), text, truncated=end is None)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        own = self._policy.vlm.state_dict()
        seen = set()
        with torch.no_grad():
            for name, tensor in weights:
                own[name].copy_(tensor)
                seen.add(name)
        tied = set(self._policy.vlm.all_tied_weights_keys or ())
        missing = set(own) - seen - tied
        assert not missing, f"weights not synced: {sorted(missing)[:3]}"

    def close(self) -> None:
        self._policy = None  # type: ignore[assignment]


class _Suppress(LogitsProcessor):
    """Leaves tokens out of the distribution."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(-1, self.tokens, SUPPRESSED_LOGIT)


class _GumbelSampling(LogitsProcessor):
    """argmax(logits / tau + Gumbel noise) is a sample of softmax(logits / tau); the noise has a stream a sequence.

    So a response does not depend on the other rows of its batch, which ``do_sample=True`` cannot promise.
    """

    def __init__(self, temperature: float, top_p: float, generators: list[torch.Generator]) -> None:
        self.temperature = temperature
        self.nucleus = TopPLogitsWarper(top_p) if top_p < 1 else None
        self.generators = generators

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.stack(
            [
                torch.empty(scores.shape[-1], device=scores.device).exponential_(generator=generator)
                for generator in self.generators
            ]
        )
        scaled = scores.float() / self.temperature
        return (self.nucleus(input_ids, scaled) if self.nucleus else scaled) - noise.log()
