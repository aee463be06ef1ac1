"""Dynamic sampling: replacements, surplus that waits for the next step, the cap."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks import RolloutCallback
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics
from prism_pl.types import Prompt, PromptBatch, Response, Rollouts, SamplingOptions


class Echo(RolloutEngine):
    """Every response is its prompt's source; what counts here is which prompts are asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def start(self, *_: Any) -> None: ...

    def generate(self, prompts: Any, seeds: Any, sampling: SamplingOptions) -> list[list[Response]]:
        self.asked.append([prompt.source for prompt in prompts])
        return [[Response((1,), (0.0,), prompt.source, False)] * 2 for prompt in prompts]

    def sync(self, weights: Any) -> None: ...

    def close(self) -> None: ...


def prompt(name: str) -> Prompt:
    return Prompt(f"rows:{name}", "", (1,), (1,), torch.zeros(3, 1))


class Source:
    """Draws prompts named after the call."""

    max_prompt_tokens = 8

    def draw(self, count: int, step: int, attempt: int, rank: int) -> list[Prompt]:
        return [prompt(f"{step}.{attempt}.{i}") for i in range(count)]

    def by_source(self, sources: list[str]) -> list[Prompt]:
        return [prompt(source.removeprefix("rows:")) for source in sources]


class Module:
    """What the callback asks of a module; ``good`` tells which of all prompts are usable."""

    def __init__(self, good: set[str], cap: int) -> None:
        self.policy_path, self.latest, self.max_resampling = "none", {}, cap
        self.good = good

    def usable_groups(self, rollouts: Rollouts) -> torch.Tensor:
        return torch.tensor([p.source.removeprefix("rows:") in self.good for p in rollouts.prompts])

    def response_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        return {index: torch.zeros(1) for index in range(len(rollouts.flat_responses))}

    def policy_weights(self) -> Any:
        return iter(())

    def gather(self, own: Any) -> list[Any]:
        return [own]

    def report(self, metrics: StepMetrics) -> dict[str, float]:
        self.latest = metrics.result()
        metrics.reset()
        return self.latest

    def whole_batch(self, own: Any) -> Any: ...

    def exports(self) -> Any: ...

    def heldout_metrics(self) -> Any: ...

    def add_heldout_metrics(self, *_: Any) -> None: ...


class Game:
    """The callback with a trainer and a module that are no more than what it asks of them."""

    def __init__(self, good: set[str], cap: int) -> None:
        self.engine = Echo()
        self.callback = RolloutCallback(self.engine, SamplingOptions(max_new_tokens=1, group_size=2))
        self.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1, datamodule=Source())
        self.module = Module(good, cap)
        self.callback.setup(self.trainer, self.module, "fit")

    def step(self, names: list[str]) -> list[str]:
        batch = PromptBatch([prompt(name) for name in names])
        self.callback._probed = True
        self.callback.on_train_batch_start(self.trainer, self.module, batch, 0)
        rollouts = batch.rollouts
        assert rollouts is not None
        assert [group[0].text for group in rollouts.responses] == [p.source for p in rollouts.prompts]
        self.callback.on_train_batch_end(self.trainer, self.module, None, batch, 0)
        self.trainer.global_step += 1
        return [p.source.removeprefix("rows:") for p in rollouts.prompts]

    @property
    def surplus(self) -> list[str]:
        return [own.source.removeprefix("rows:") for own, _ in self.callback._surplus]


def test_a_greedy_group_is_refused() -> None:
    with pytest.raises(UserError, match=r"sampling.temperature: it is 0"):
        RolloutCallback(Echo(), SamplingOptions(max_new_tokens=1, group_size=2, temperature=0.0))
    RolloutCallback(Echo(), SamplingOptions(max_new_tokens=1, group_size=1, temperature=0.0))


def test_a_rollout_from_a_part_of_the_tokens_is_refused() -> None:
    with pytest.raises(UserError, match=r"sampling.top_p: it is 0.7"):
        RolloutCallback(Echo(), SamplingOptions(max_new_tokens=1, top_p=0.7))


def test_without_resampling_every_group_stays() -> None:
    game = Game(set(), cap=0)
    assert game.step(["a", "b"]) == ["a", "b"]
    assert game.engine.asked == [["rows:a", "rows:b"]]


def test_holes_are_filled_and_the_surplus_waits_for_the_next_step() -> None:
    # One of four is usable, so three holes make 3 * 4 / 1 = 12 further prompts, at most the batch of four. Of those all
    # are usable: three go into the holes, the fourth waits.
    game = Game({"a"} | {f"0.1.{i}" for i in range(4)} | {"e", "f", "g"}, cap=5)
    assert game.step(["a", "b", "c", "d"]) == ["a", "0.1.0", "0.1.1", "0.1.2"]
    assert game.surplus == ["0.1.3"]
    # It fills the next step's one hole, and nothing is sampled for it.
    assert game.step(["e", "x", "f", "g"]) == ["e", "0.1.3", "f", "g"]
    assert game.surplus == []
    assert [len(asked) for asked in game.engine.asked] == [4, 4, 4]


def test_no_more_prompts_are_sampled_than_the_share_of_usable_groups_asks_for() -> None:
    # Three of four usable, one hole: ceil(1 * 4 / 3) = 2 prompts.
    game = Game({"a", "b", "c", "0.1.0"}, cap=5)
    assert game.step(["a", "b", "c", "d"]) == ["a", "b", "c", "0.1.0"]
    assert [len(asked) for asked in game.engine.asked] == [4, 2]


def test_the_cap_degrades_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    game = Game({"a"}, cap=2)
    with caplog.at_level(logging.WARNING):
        assert game.step(["a", "b"]) == ["a", "b"]
    assert "1 of 2 groups still of no use after 2 rounds" in caplog.text
    assert len(game.engine.asked) == 3
    assert game.module.latest["rollout/usable_groups"] == 0.5


def test_the_surplus_survives_a_resume() -> None:
    game = Game({"a"} | {f"0.1.{i}" for i in range(4)} | {"e", "f", "g"}, cap=5)
    game.step(["a", "b", "c", "d"])
    checkpoint: dict[str, Any] = {}
    game.callback.on_save_checkpoint(game.trainer, game.module, checkpoint)
    resumed = Game({"e", "f", "g"}, cap=5)
    resumed.callback.on_load_checkpoint(resumed.trainer, resumed.module, checkpoint)
    resumed.callback.on_train_start(resumed.trainer, resumed.module)
    assert resumed.step(["e", "x", "f", "g"]) == ["e", "0.1.3", "f", "g"]


def test_the_surplus_is_dealt_anew_to_another_number_of_ranks() -> None:
    entries = [{"source": f"rows:{name}", "responses": []} for name in "abcde"]
    checkpoint = {"surplus": [entries[:4], entries[4:]]}
    dealt = []
    for rank in range(3):
        game = Game(set(), cap=1)
        game.trainer.global_rank, game.trainer.world_size = rank, 3
        game.callback.on_load_checkpoint(game.trainer, game.module, checkpoint)
        game.callback.on_train_start(game.trainer, game.module)
        dealt.append(game.surplus)
    assert dealt == [["a", "d"], ["b", "e"], ["c"]]
