"""Held-out prompts, answered greedily and by sampling, during training and at the end."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from callbacks.rollout import RolloutCallback
from prism_pl.conversation import PromptEncoder
from prism_pl.engines import RolloutEngine
from prism_pl.metrics import Means
from prism_pl.options import SamplingOptions
from prism_pl.rewards import AnswerReward
from prism_pl.rows import DataFile, usable_rows
from prism_pl.seeds import derive_seed
from prism_pl.segments import parse_response
from prism_pl.types import Prompt, PromptBatch

_PROMPTS_A_CALL = 256


class EvaluationCallback(L.Callback):
    """Logs held-out accuracy (greedy), format rate, length and what the module adds (reward gaps, in alignment).

    At the end of the stage all held-out prompts are answered, and ``heldout.jsonl`` keeps every response for the report.

    Args:
        path: prompts with answers that no stage trains on.
        every: updates between two evaluations; 0 evaluates only at the end.
        num_prompts: prompts of an evaluation during training.
        num_final: prompts of the one at the end.
        max_new_tokens: length limit of a response.
        max_prompt_tokens: limit of a prompt, images included.
        engine: an engine of its own; null uses the rollout callback's.
    """

    def __init__(
        self,
        path: str,
        every: int,
        max_new_tokens: int,
        num_prompts: int = 128,
        num_final: int = 500,
        max_prompt_tokens: int = 2048,
        engine: RolloutEngine | None = None,
    ) -> None:
        self.path = path
        self.every = every
        self.num_prompts = num_prompts
        self.num_final = num_final
        self.max_prompt_tokens = max_prompt_tokens
        self.greedy = SamplingOptions(max_new_tokens=max_new_tokens, group_size=1, temperature=0.0)
        self.engine = engine

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        encoder = PromptEncoder(pl_module.policy_name, self.max_prompt_tokens)
        data = DataFile.open(self.path, "EvaluationCallback.path")
        rows = usable_rows(data, encoder, needs=("answer",))[: max(self.num_prompts, self.num_final)]
        self.prompts = encoder.encode([data.prompt_row(row) for row in rows])
        if self.engine is not None:
            self._engine = self.engine
            self._engine.start(pl_module.policy_name, self.max_prompt_tokens, self.greedy)
        else:
            rollout = next((c for c in trainer.callbacks if isinstance(c, RolloutCallback)), None)
            assert rollout is not None, "EvaluationCallback without an engine needs a RolloutCallback"
            self._engine = rollout.engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._last = trainer.global_step
        if trainer.global_step == 0 and self.engine is None:
            self._evaluate(trainer, pl_module, self.prompts[: self.num_prompts])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.every and trainer.global_step - self._last >= self.every:
            self._last = trainer.global_step
            self._evaluate(trainer, pl_module, self.prompts[: self.num_prompts])

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        records = self._evaluate(trainer, pl_module, self.prompts[: self.num_final])
        if trainer.is_global_zero:
            target = Path(trainer.default_root_dir) / "heldout.jsonl"
            partial = target.with_suffix(".tmp")
            partial.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
            partial.replace(target)
        if self.engine is not None:
            self.engine.close()

    def _evaluate(self, trainer: Any, pl_module: Any, prompts: list[Prompt]) -> list[dict[str, Any]]:
        """Metrics over all ranks; the records of all ranks, in the order of the prompts."""
        # Always: a run that was killed after its last update comes here without having trained a step.
        self._engine.sync(pl_module.policy.weights())
        means, verify = Means(), AnswerReward()
        own = prompts[trainer.global_rank :: trainer.world_size]
        records = []
        # The module's metrics are collectives: all ranks make the same number of calls, whatever their share.
        calls = -(-len(prompts) // (trainer.world_size * _PROMPTS_A_CALL))
        for index in torch.arange(len(own)).tensor_split(calls):
            part = [own[i] for i in index.tolist()]
            greedy = self._generate(part, self.greedy)
            sampled = self._generate(part, replace(self.greedy, temperature=1.0))
            for prompt, (best,), (sample,) in zip(part, greedy.responses, sampled.responses, strict=True):
                record: dict[str, Any] = {
                    "source": prompt.source,
                    "question": prompt.question,
                    "image": prompt.image_paths[0] if prompt.image_paths else None,
                    "answer": prompt.answer,
                    "teacher": prompt.teacher,
                    "greedy": best.text,
                    "greedy_correct": verify(best.text, prompt.answer or ""),
                    "sampled": sample.text,
                    "sampled_correct": verify(sample.text, prompt.answer or ""),
                    "tokens": len(sample.token_ids),
                }
                records.append(record)
                means.add("heldout/accuracy", record["greedy_correct"])
                means.add("heldout/accuracy_sampled", record["sampled_correct"])
                means.add("heldout/format_rate", float(parse_response(sample.text) is not None))
                means.add("heldout/tokens", float(len(sample.token_ids)))
            if hasattr(pl_module, "heldout_metrics"):
                pl_module.heldout_metrics(sampled, means)
        totals = pl_module.global_sum(means.stacked())
        pl_module.publish(means.result(totals))
        if trainer.world_size > 1:
            shares: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(shares, records)
            records = sorted((r for share in shares for r in share), key=lambda r: r["source"])
        return records

    def _generate(self, prompts: list[Prompt], sampling: SamplingOptions) -> PromptBatch:
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        seeds = [derive_seed(seed, "heldout", prompt.source) for prompt in prompts]
        responses = self._engine.generate(prompts, seeds, sampling)
        return PromptBatch(prompts, responses, sampling.temperature, sampling.max_new_tokens)
