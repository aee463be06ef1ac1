"""Held-out prompts, answered greedily and by sampling, during training and at the end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch

from callbacks.export import write_models
from callbacks.heldout import load_prompts, rollout_of
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.engines import RolloutEngine, SamplingOptions
from prism_pl.metrics.intervals import half_width, pass_at_k, wilson
from prism_pl.metrics.means import Means
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.rewards import AnswerReward, Reward
from prism_pl.runs.files import write_atomically
from prism_pl.seeds import run_seed
from prism_pl.segments import parse_response
from prism_pl.types import Prompt, PromptBatch

_PROMPTS_A_CALL = 256


class EvaluationCallback(L.Callback):
    """Logs held-out accuracy with 95% intervals, and keeps the best model under ``best/``.

    ``heldout/accuracy``: greedy; ``heldout/accuracy_sampled``: avg@k, the mean over k samples at temperature 1;
    ``heldout/pass@k``: one of k is right. Also format rate, length, and what the module adds (reward gaps, in alignment).
    At the end of the stage all held-out prompts are answered, and ``heldout.jsonl`` keeps every response for the report.
    The reward here has no length term, whatever the algorithm's has.

    Args:
        path: prompts with answers that no stage trains on.
        every: updates between two evaluations; 0 evaluates only at the end.
        num_prompts: prompts of an evaluation during training.
        num_final: prompts of the one at the end.
        num_samples: k, samples a prompt.
        max_new_tokens: length limit of a response.
        max_prompt_tokens: limit of a prompt, images included.
        reward: the class that says whether an answer is right; null is ``AnswerReward``.
        keep_best: write the models of the best evaluation during training to ``best/``.
        engine: an engine of its own; null uses the rollout callback's.
    """

    def __init__(
        self,
        path: str | DataSource,
        every: NonNegativeInt,
        max_new_tokens: PositiveInt,
        num_prompts: PositiveInt = 128,
        num_final: PositiveInt = 500,
        num_samples: PositiveInt = 1,
        max_prompt_tokens: PositiveInt = 2048,
        reward: Reward | None = None,
        keep_best: bool = False,
        engine: RolloutEngine | None = None,
    ) -> None:
        self.path = path
        self.every = every
        self.num_prompts = num_prompts
        self.num_final = num_final
        self.max_prompt_tokens = max_prompt_tokens
        self.greedy = SamplingOptions(max_new_tokens=max_new_tokens, group_size=1, temperature=0.0)
        self.sampled = replace(self.greedy, group_size=num_samples, temperature=1.0)
        self.reward = reward or AnswerReward()
        self.keep_best = keep_best
        self.engine = engine
        self.best: dict[str, float] | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        encoder = PromptEncoder(pl_module.policy_name, self.max_prompt_tokens)
        count = max(self.num_prompts, self.num_final)
        data = DataFile.open(self.path, "EvaluationCallback.path")
        self.image_root = str(data.root)
        self.prompts = load_prompts(data, encoder, ("answer",), count)
        if self.engine is not None:
            self.engine.start(pl_module.policy_name, self.max_prompt_tokens, self.greedy)
        self._engine = self.engine or rollout_of(trainer, "EvaluationCallback").engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._last = trainer.global_step
        if trainer.global_step == 0 and self.engine is None:
            self._evaluate(trainer, pl_module, self.prompts[: self.num_prompts])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self.every or trainer.global_step - self._last < self.every:
            return
        self._last = trainer.global_step
        accuracy = self._evaluate(trainer, pl_module, self.prompts[: self.num_prompts])[0]["heldout/accuracy"]
        if self.keep_best and (self.best is None or accuracy > self.best["heldout/accuracy"]):
            self.best = {"updates": trainer.global_step, "heldout/accuracy": accuracy}
            folder = Path(trainer.default_root_dir) / "best"
            write_models(trainer, pl_module, folder)
            if trainer.is_global_zero:
                write_atomically(folder / "best.json", json.dumps(self.best) + "\n")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        _, records = self._evaluate(trainer, pl_module, self.prompts[: self.num_final])
        if trainer.is_global_zero:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            write_atomically(Path(trainer.default_root_dir) / "heldout.jsonl", lines)
        if self.engine is not None:
            self.engine.close()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _evaluate(
        self, trainer: Any, pl_module: Any, prompts: list[Prompt]
    ) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Metrics over all ranks; the records of all ranks, in the order of the prompts."""
        # Always: a run that was killed after its last update comes here without having trained a step.
        self._engine.sync(pl_module.policy.weights())
        means = Means()
        own = prompts[trainer.global_rank :: trainer.world_size]
        records = []
        # The module's metrics are collectives: all ranks make the same number of calls, whatever their share.
        calls = -(-len(prompts) // (trainer.world_size * _PROMPTS_A_CALL))
        for index in torch.arange(len(own)).tensor_split(calls):
            part = [own[i] for i in index.tolist()]
            greedy = self._engine.answer(part, self.greedy, run_seed(), "heldout")
            sampled = self._engine.answer(part, self.sampled, run_seed(), "heldout")
            records += self._records(greedy, sampled)
            well_formed = [float(parse_response(text) is not None) for group in sampled.texts for text in group]
            means.add("heldout/format_rate", torch.tensor(well_formed))
            means.add("heldout/tokens", sampled.length_PG)
            if hasattr(pl_module, "heldout_metrics"):
                pl_module.heldout_metrics(sampled, means)
        records = pl_module.whole_batch(records)
        metrics = means.result(pl_module.global_sum(means.stacked())) | accuracy_metrics(records)
        pl_module.publish(metrics)
        return metrics, records

    def _records(self, greedy: PromptBatch, sampled: PromptBatch) -> list[dict[str, Any]]:
        pairs = [(greedy.prompts, greedy.texts), (sampled.prompts, sampled.texts)]
        best_P1, sample_PK = (self.reward.grade(prompts, texts) for prompts, texts in pairs)
        return [
            {
                "source": prompt.source,
                "question": prompt.question,
                "image_root": self.image_root,
                "image": prompt.image_paths[0] if prompt.image_paths else None,
                "answer": prompt.answer,
                "teacher": prompt.teacher,
                "greedy": best.text,
                "greedy_correct": best_correct,
                "sampled": samples[0].text,
                "sampled_correct": correct[0],
                "samples_correct": correct,
                "tokens": len(samples[0].token_ids),
            }
            for prompt, (best,), (best_correct,), samples, correct in zip(
                greedy.prompts, greedy.responses, best_P1, sampled.responses, sample_PK, strict=True
            )
        ]


def accuracy_metrics(records: list[dict[str, Any]]) -> dict[str, float]:
    """Greedy accuracy, avg@k and pass@k over prompts, with the bounds or half width of their 95% intervals."""
    greedy = [record["greedy_correct"] for record in records]
    averages = [sum(record["samples_correct"]) / len(record["samples_correct"]) for record in records]
    low, high = wilson(sum(value > 0 for value in greedy), len(greedy))
    metrics = {
        "heldout/accuracy": sum(greedy) / len(greedy),
        "heldout/accuracy_low": low,
        "heldout/accuracy_high": high,
        "heldout/accuracy_sampled": sum(averages) / len(averages),
    }
    if (half := half_width(averages)) is not None:
        metrics["heldout/accuracy_sampled_half_width"] = half
    num_samples = len(records[0]["samples_correct"])
    right = [sum(value > 0 for value in record["samples_correct"]) for record in records]
    for k in {*(2**power for power in range(1, num_samples.bit_length())), num_samples} - {1}:
        metrics[f"heldout/pass@{k}"] = sum(pass_at_k(num_samples, count, k) for count in right) / len(right)
    return metrics
