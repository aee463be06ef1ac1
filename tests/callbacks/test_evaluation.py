"""Held-out figures by hand, and the best model kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callbacks import EvaluationCallback
from callbacks.evaluation import add_accuracy
from prism_pl.data.conversation import PromptEncoder
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.types import Response, SamplingOptions
from tests.callbacks.test_rollout import Module


def record(greedy: float, samples: list[float]) -> dict[str, Any]:
    return {"greedy_correct": greedy, "samples_correct": samples}


def accuracy_metrics(records: list[dict[str, Any]]) -> dict[str, float]:
    callback = EvaluationCallback("none.jsonl", 0, 8, num_samples=len(records[0]["samples_correct"]))
    callback._stage = SimpleNamespace(heldout_metrics=dict)
    add_accuracy(records, callback._metrics)
    return callback._metrics.result()


def test_accuracy_metrics_by_hand() -> None:
    records = [
        record(1.0, [1.0, 1.0, 0.0, 0.0]),
        record(0.0, [0.0] * 4),
        record(1.0, [1.0] * 4),
        record(1.0, [1.0, 0, 0, 0]),
    ]
    metrics = accuracy_metrics(records)
    assert metrics["heldout/accuracy"] == 0.75
    # avg@4: (0.5 + 0 + 1 + 0.25) / 4.
    assert metrics["heldout/accuracy_sampled"] == 0.4375
    # pass@2: 1 - C(2,2)/C(4,2) = 5/6; 0; 1; 1 - C(3,2)/6 = 1/2. pass@4: 1, 0, 1, 1.
    assert metrics["heldout/pass@2"] == pytest.approx((5 / 6 + 0 + 1 + 0.5) / 4)
    assert metrics["heldout/pass@4"] == 0.75
    # std of 0.5, 0, 1, 0.25: squares 0.00390625 + 0.19140625 + 0.31640625 + 0.03515625 = 0.546875; / 3; / 4; root; z.
    assert metrics["heldout/accuracy_sampled_half_width"] == pytest.approx(1.959964 * (0.546875 / 12) ** 0.5)
    # Wilson for 3 of 4: (0.75 + z^2/8 +- z sqrt(0.1875/4 + z^2/64)) / (1 + z^2/4) with z^2 = 3.841459.
    assert metrics["heldout/accuracy_low"] == pytest.approx(0.300642, abs=1e-6)
    assert metrics["heldout/accuracy_high"] == pytest.approx(0.954413, abs=1e-6)


def test_one_sample_has_no_pass_at_k() -> None:
    metrics = accuracy_metrics([record(1.0, [1.0])])
    assert not [name for name in metrics if "pass@" in name or "half_width" in name]
    assert accuracy_metrics([record(0.0, [0.0, 0, 1])])["heldout/pass@3"] == 1.0


class Asked(RolloutEngine):
    """Remembers the prompts; every answer is empty."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    def start(self, *_: Any) -> None: ...

    def generate(self, prompts: Any, seeds: Any, sampling: SamplingOptions) -> list[list[Response]]:
        self.sources += [prompt.source.rsplit(":", 1)[1] for prompt in prompts] if sampling.temperature == 0 else []
        return [[Response((1,), (0.0,), "", False)] * sampling.group_size for _ in prompts]

    def sync(self, weights: Any) -> None: ...

    def close(self) -> None: ...


def test_a_rank_encodes_its_own_prompts_alone(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = PromptEncoder.encode
    monkeypatch.setattr(
        PromptEncoder, "encode", lambda self, rows: encoded.extend(r.source for r in rows) or encode(self, rows)
    )
    engine = Asked()
    callback = EvaluationCallback("embedded/digits/heldout.jsonl", 1, 8, num_prompts=8, num_final=20, engine=engine)
    trainer = SimpleNamespace(global_step=0, global_rank=1, world_size=3, is_global_zero=False)
    policy = Module(set(), 0)
    policy.policy_path, policy.heldout_metrics = "embedded/digits", dict
    callback.setup(trainer, policy, "fit")
    assert encoded == []
    callback._evaluate(trainer, callback.num_prompts)
    # Rows 0 to 7 in turn on ranks 0, 1 and 2; files count from 1.
    assert engine.sources == ["2", "5", "8"]
    assert [source.rsplit(":", 1)[1] for source in encoded] == ["2", "5", "8"]


@pytest.mark.parametrize(("counts", "key"), [((2, 20), "num_prompts"), ((20, 2), "num_final")])
def test_fewer_prompts_than_ranks_are_refused(embedded: Path, counts: tuple[int, int], key: str) -> None:
    callback = EvaluationCallback(
        "embedded/digits/heldout.jsonl", 1, 8, num_prompts=counts[0], num_final=counts[1], engine=Asked()
    )
    policy = Module(set(), 0)
    policy.policy_path = "embedded/digits"
    with pytest.raises(UserError, match=rf"EvaluationCallback.{key}: 2 held-out prompts are too few for 3 devices"):
        callback.setup(SimpleNamespace(world_size=3), policy, "fit")
    callback.setup(SimpleNamespace(world_size=2), policy, "fit")


def test_the_best_model_is_kept_and_a_resumed_run_remembers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    trainer = SimpleNamespace(global_step=0, default_root_dir=str(tmp_path), is_global_zero=True)
    monkeypatch.setattr(
        "callbacks.evaluation.write_models", lambda trainer, module, folder: written.append(trainer.global_step)
    )
    callback = EvaluationCallback("none.jsonl", every=2, max_new_tokens=8, keep_best=True)
    callback._stage = None
    for step, accuracy in ((2, 0.5), (4, 0.4), (6, 0.7)):
        trainer.global_step = step
        monkeypatch.setattr(callback, "_evaluate", lambda *_, value=accuracy: ({"heldout/accuracy": value}, []))
        callback.on_train_batch_end(trainer, None, None, None, 0)
    assert written == [2, 6]
    assert json.loads((tmp_path / "best" / "best.json").read_text()) == {"updates": 6, "heldout/accuracy": 0.7}
    resumed = EvaluationCallback("none.jsonl", every=2, max_new_tokens=8, keep_best=True)
    resumed.load_state_dict(callback.state_dict())
    assert resumed.best == {"updates": 6, "heldout/accuracy": 0.7}
