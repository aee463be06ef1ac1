"""The log-prob probe: right weights pass in either precision, one wrong layer does not, and all ranks learn of it."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import RolloutCallback
from callbacks.probe import Bounds, ProbeOptions, bounds, judge
from prism_pl.algorithms.policy_update import groups_of
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import TransformersEngine
from prism_pl.model.packing import by_index, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt, PromptBatch, Rollouts, SamplingOptions
from tests.callbacks.test_rollout import Module, Source


class BF16Engine(TransformersEngine):
    """Computes in bf16, as an engine does on a GPU."""

    precision = torch.bfloat16

    def sync(self, weights: Any) -> None:
        self._policy.float()
        super().sync(weights)
        self._policy.bfloat16()


class Trained(Module):
    """A module with a real policy; ``others`` is what other ranks report."""

    def __init__(self, policy: Policy, others: tuple[str | None, ...] = ()) -> None:
        super().__init__(set(), cap=0)
        self.policy_path, self._policy, self._others = EMBEDDED_NAME, policy, others

    @torch.no_grad()
    def response_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        found: dict[int, torch.Tensor] = {}
        for groups in micro_batches(groups_of(rollouts, range(len(rollouts.flat_responses))), 4096):
            packed = pack(groups)
            found |= by_index(self._policy(packed)[0], packed)
        return found

    def policy_weights(self) -> Any:
        return self._policy.weights()

    def gather(self, own: Any) -> list[Any]:
        return [own, *self._others]


PRECISIONS = {"fp32": (TransformersEngine, "32-true"), "bf16": (BF16Engine, "bf16-mixed")}


def probed(policy: Policy, prompts: list[Prompt], precision: str, wrong: bool, others: tuple[str | None, ...] = ()) -> Any:
    """The callback after a probe; ``wrong`` swaps the weights of two of the engine's layers."""
    engine, name = PRECISIONS[precision]
    callback = RolloutCallback(engine("cpu"), SamplingOptions(max_new_tokens=32, group_size=2))
    trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1, datamodule=Source(), precision=name)
    module = Trained(policy if precision == "fp32" else copy.deepcopy(policy).bfloat16(), others)
    callback.setup(trainer, module, "fit")
    engine_weights = dict(policy.weights())
    if wrong:
        for key in [key for key in engine_weights if ".language_model.layers.1." in key]:
            engine_weights[key] = dict(policy.weights())[key.replace("layers.1.", "layers.2.")]
    callback.ready_engine().sync(engine_weights.items())
    callback._probe(trainer, PromptBatch(prompts[:1]))
    return callback


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_wrong_layer_is_found_in_either_precision(lively_policy: Policy, prompts: list[Prompt], precision: str) -> None:
    gaps = probed(lively_policy, prompts, precision, wrong=False)._metrics.result()
    mean, p99, largest = (gaps[f"rollout/probe_gap{name}"] for name in ("_mean", "_p99", ""))
    assert 0 < mean <= p99 <= largest
    # Rounding of training's own precision: in bf16 the trainer is not exact either.
    assert (mean < 1e-5) == (precision == "fp32")
    with pytest.raises(RuntimeError, match=r"before update 1 on rank 0: .* has the mean \d.*\(probe.mean_gap: "):
        probed(lively_policy, prompts, precision, wrong=True)


def test_an_engine_in_fp32_sees_that_training_is_in_bf16(lively_policy: Policy, prompts: list[Prompt]) -> None:
    PRECISIONS["mixed"] = (TransformersEngine, *PRECISIONS["bf16"][1:])
    gaps = probed(lively_policy, prompts, "mixed", wrong=False)._metrics.result()
    assert gaps["rollout/probe_gap_mean"] > 1e-4


def test_another_rank_s_engine_ends_this_rank_too(lively_policy: Policy, prompts: list[Prompt]) -> None:
    with pytest.raises(RuntimeError, match="on rank 2: theirs is wrong"):
        probed(lively_policy, prompts, "fp32", wrong=False, others=(None, "theirs is wrong"))


def test_one_large_gap_among_many_is_only_logged() -> None:
    # 1000 tokens without a gap and one of 5: the mean is 5 / 1001, the 99th percentile 0.
    gap_N = torch.cat([torch.zeros(1000), torch.tensor([5.0])])
    verdict = judge(gap_N, Bounds(0.025, 0.25))
    assert (verdict.problem, verdict.p99, verdict.largest) == (None, 0.0, 5.0)
    assert verdict.mean == pytest.approx(5 / 1001)
    # Two per cent of them are a percentile's affair, and a NaN anybody's.
    assert judge(torch.cat([torch.zeros(98), torch.ones(2)]), Bounds(0.025, 0.25)).problem
    assert judge(torch.tensor([0.0, torch.nan]), Bounds(0.025, 0.25)).problem
    assert judge(torch.full((50,), 0.03), Bounds(0.025, 0.25)).problem


def test_the_bounds_follow_the_precision_unless_they_are_set() -> None:
    assert bounds(ProbeOptions(), exact=True) == Bounds(1e-4, 1e-3)
    assert bounds(ProbeOptions(), exact=False) == Bounds(0.025, 0.25)
    assert bounds(ProbeOptions(mean_gap=0.5), exact=True) == Bounds(0.5, 1e-3)
