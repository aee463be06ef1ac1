"""Held-out prompts, answered greedily and by sampling, during training and at the end."""

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from callbacks.ending import LastWork
from callbacks.every import EveryUpdates
from callbacks.export import write_models
from callbacks.heldout import HeldoutPrompts, rollout_of
from prism_pl.contracts import PolicyStage, require
from prism_pl.data.files import DataSource
from prism_pl.engines import RolloutEngine
from prism_pl.heartbeat import within
from prism_pl.metrics.collection import StepMetrics, local, means, sums
from prism_pl.metrics.intervals import MeanWithInterval, PassAtK, WilsonAccuracy
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.rewards import AnswerReward, Reward
from prism_pl.runs.files import write_atomically
from prism_pl.seeds import run_seed
from prism_pl.segments import parse_response
from prism_pl.types import Rollouts, SamplingOptions

_PROMPTS_A_CALL = 256


class EvaluationCallback(LastWork):
    """Logs held-out accuracy with 95% intervals, and keeps the best model under ``best/``.

    ``heldout/accuracy``: greedy; ``heldout/accuracy_sampled``: avg@k, the mean over k samples at temperature 1;
    ``heldout/pass@k``: one of k is right. Also format rate, length, and what the module adds (reward gaps, in alignment).
    At the end of the stage all held-out prompts are answered, and ``heldout.jsonl`` keeps every response for the report.
    The reward here has no length term, whatever the algorithm's has.

    Args:
        path: prompts with answers that no stage trains on.
        every: evaluates at each multiple of so many updates; 0 only at the end.
        num_prompts: prompts of an evaluation during training, at least one a device.
        num_final: prompts of the one at the end, at least one a device.
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
        self._cadence = EveryUpdates(every)
        self.num_prompts = num_prompts
        self.num_final = num_final
        self.max_prompt_tokens = max_prompt_tokens
        self.greedy = SamplingOptions(max_new_tokens=max_new_tokens, group_size=1, temperature=0.0)
        self.sampled = replace(self.greedy, group_size=num_samples, temperature=1.0)
        self.reward = reward or AnswerReward()
        self.keep_best = keep_best
        self.engine = engine
        self.best: dict[str, float] | None = None
        self._started = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._stage = require(pl_module, PolicyStage, "EvaluationCallback")
        self.prompts = HeldoutPrompts(
            self.path, "EvaluationCallback.path", self._stage.policy_path, self.max_prompt_tokens, ("answer",)
        )
        for key in ("num_prompts", "num_final"):
            self.prompts.check_shares(getattr(self, key), f"EvaluationCallback.{key}", trainer.world_size)
        self.source = {"image_root": str(self.prompts.data.root), **self.prompts.data.reading.changes}
        if self.engine is None:
            self._ready_engine = rollout_of(trainer, "EvaluationCallback").ready_engine
        else:
            self.engine.check()
            self._ready_engine = self._own_engine

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._cadence.restart(trainer.global_step)
        if trainer.global_step == 0 and self.engine is None:
            self._evaluate(trainer, self.num_prompts)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not self._cadence.is_due(trainer.global_step):
            return
        if not self.keep_best and 0 <= trainer.max_steps <= trainer.global_step:
            return  # ``finish`` comes next, with more prompts
        accuracy = self._evaluate(trainer, self.num_prompts)[0]["heldout/accuracy"]
        if self.keep_best and (self.best is None or accuracy > self.best["heldout/accuracy"]):
            self.best = {"updates": trainer.global_step, "heldout/accuracy": accuracy}
            folder = Path(trainer.default_root_dir) / "best"
            write_models(trainer, self._stage, folder)
            if trainer.is_global_zero:
                write_atomically(folder / "best.json", json.dumps(self.best) + "\n")

    def finish(self, trainer: Any, pl_module: Any) -> None:
        _, records = self._evaluate(trainer, self.num_final)
        if trainer.is_global_zero:
            lines = "".join(json.dumps(record) + "\n" for record in records)
            write_atomically(Path(trainer.default_root_dir) / "heldout.jsonl", lines)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self.engine is not None and self._started:
            self.engine.close()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _own_engine(self) -> RolloutEngine:
        assert self.engine is not None
        if not self._started:
            self._started = True
            self.engine.start(self._stage.policy_path, self.max_prompt_tokens, self.greedy)
        return self.engine

    @cached_property
    def _metrics(self) -> StepMetrics:
        """Made on first use: the stage knows its own only once it is built."""
        kept = means("heldout/format_rate", "heldout/tokens")
        kept |= {"heldout/accuracy": local(WilsonAccuracy), "heldout/accuracy_sampled": local(MeanWithInterval)}
        if self.sampled.group_size > 1:
            kept |= {"heldout/pass@": local(PassAtK, self.sampled.group_size)}
        kept |= sums(*(f"heldout/{self.reward.name}/{counter}" for counter in self.reward.counters))
        return StepMetrics(kept | self._stage.heldout_metrics())

    @within("evaluation")
    def _evaluate(self, trainer: Any, count: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Metrics over all ranks; the records of all ranks, in the order of the prompts."""
        engine = self._ready_engine()
        # Always: a run that was killed after its last update comes here without having trained a step.
        engine.take(self._stage.policy_weights(), trainer.global_step)
        rows = self.prompts.rows[:count]
        own = rows[trainer.global_rank :: trainer.world_size]
        records = []
        # The stage's metrics are collectives: all ranks make the same number of calls, whatever their share.
        calls = -(-len(rows) // (trainer.world_size * _PROMPTS_A_CALL))
        for index in torch.arange(len(own)).tensor_split(calls):
            part = self.prompts.encode([own[i] for i in index.tolist()])
            greedy, sampled = engine.answer_each(part, (self.greedy, self.sampled), run_seed(), "heldout")
            records += self._records(greedy, sampled)
            well_formed = [float(parse_response(text) is not None) for group in sampled.texts for text in group]
            self._metrics.add("heldout/format_rate", torch.tensor(well_formed))
            self._metrics.add("heldout/tokens", sampled.length_PG)
            self._stage.add_heldout_metrics(sampled, self._metrics)
        add_accuracy(records, self._metrics)
        for counter, count in self.reward.take_counts().items():
            self._metrics.add(f"heldout/{self.reward.name}/{counter}", count)
        return self._stage.report(self._metrics), self._stage.whole_batch(records)

    def _records(self, greedy: Rollouts, sampled: Rollouts) -> list[dict[str, Any]]:
        pairs = [(greedy.prompts, greedy.texts), (sampled.prompts, sampled.texts)]
        best_P1, sample_PK = (self.reward.grade(prompts, texts) for prompts, texts in pairs)
        return [
            {
                "source": prompt.source,
                "question": prompt.question,
                "data_source": self.source,
                "image": prompt.image_paths[0] if prompt.image_paths else None,
                "answer": prompt.answer,
                "options": list(prompt.options),
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


def add_accuracy(records: list[dict[str, Any]], metrics: StepMetrics) -> None:
    """Greedy accuracy, avg@k and pass@k over this rank's prompts."""
    metrics.add("heldout/accuracy", torch.tensor([record["greedy_correct"] for record in records], dtype=torch.float64))
    samples = [record["samples_correct"] for record in records]
    averages = torch.tensor([sum(own) / len(own) for own in samples], dtype=torch.float64)
    metrics.add("heldout/accuracy_sampled", averages)
    if "heldout/pass@" in metrics:
        metrics.add("heldout/pass@", torch.tensor([sum(value > 0 for value in own) for own in samples]))
