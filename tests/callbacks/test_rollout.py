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

    def draw(self, count: int, step: int, attempt: int) -> list[str]:
        return [f"rows:{step}.{attempt}.{i}" for i in range(count)]

    def by_source(self, sources: list[str]) -> list[Prompt]:
        return [prompt(source.removeprefix("rows:")) for source in sources]

    def upcoming(self, batches: int) -> None:
        """Nothing is asked for ahead of time."""


class Module:
    """What the callback asks of a module; ``good`` tells which of all prompts are usable."""

    def __init__(self, good: set[str], cap: int) -> None:
        self.policy_path, self.latest, self.max_resampling = "none", {}, cap
        self.export_dtype, self.corrects_mismatch = "auto", True
        self.good = good

    def prepare(self, model: Any) -> None:
        """Nothing: it has no network."""

    def updates_in(self, batches: int) -> int:
        return batches

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

    def whole_batch(self, own: Any) -> Any:
        return own

    def exports(self) -> Any: ...

    def heldout_metrics(self) -> Any: ...

    def add_heldout_metrics(self, *_: Any) -> None: ...


class Game:
    """The callback with a trainer and a module that are no more than what it asks of them."""

    def __init__(self, good: set[str], cap: int) -> None:
        self.engine = Echo()
        self.callback = RolloutCallback(self.engine, SamplingOptions(max_new_tokens=1, group_size=2))
        self.trainer = SimpleNamespace(global_step=0, global_rank=0, world_size=1, is_global_zero=True, datamodule=Source())
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
        return [own.source.removeprefix("rows:") for own in self.callback._surplus]


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


class Ranks:
    """Ranks one after the other, each told what the others would say: the same is asked of all in the same order."""

    def __init__(self, names: list[str], good: set[str], cap: int, count: int) -> None:
        self.games = [Game(good, cap) for _ in range(count)]
        whole = [prompt(name) for name in names]
        for rank, game in enumerate(self.games):
            game.trainer.global_rank, game.trainer.world_size = rank, count
            game.trainer.is_global_zero = rank == 0
        # What each collective has been given, by rank: a rank that comes before the others repeats until they have come.
        self.told: list[list[Any]] = [[] for _ in self.games]
        self.whole = whole

    def step(self) -> list[str]:
        """The batch after resampling, in order."""
        count = len(self.games)
        for _ in range(20):
            done = [self._attempt(rank) for rank in range(count)]
            if all(done):
                break
        own = [[p.source.removeprefix("rows:") for p in rollouts.prompts] for rollouts in done]
        return [share[row] for row in range(len(own[0])) for share in own]

    def _attempt(self, rank: int) -> Any:
        """This rank's rollouts, or None where it has to wait for what another one tells."""
        count, calls = len(self.games), 0

        class WaitError(Exception):
            pass

        def whole_batch(own: list[Any]) -> list[Any]:
            nonlocal calls
            calls += 1
            if len(self.told[rank]) < calls:
                self.told[rank].append(own)
            if any(len(told) < calls for told in self.told):
                raise WaitError
            shares = [told[calls - 1] for told in self.told]
            return [share[row] for row in range(max(map(len, shares))) for share in shares if row < len(share)]

        game = self.games[rank]
        game.module.whole_batch = whole_batch  # type: ignore[method-assign]
        game.callback._surplus.clear()
        try:
            return game.callback._sample(game.trainer, self.whole[rank::count])
        except WaitError:
            return None


@pytest.mark.parametrize("count", [2, 3])
def test_what_replaces_a_group_does_not_depend_on_the_number_of_ranks(count: int) -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    good = {"a", "e", "0.1.1", "0.1.4", "0.2.0", "0.2.3", "0.2.5", "0.3.1"}
    alone, several = Ranks(names, good, 5, 1), Ranks(names, good, 5, count)
    # Two of six are usable: twelve further prompts are wanted, a batch of six is the most. Two of these fill the first
    # holes; the next round has three for the two that are left.
    assert alone.step() == several.step() == ["a", "0.1.1", "0.1.4", "0.2.0", "e", "0.2.3"]
    assert [game.surplus for game in several.games] == [["0.2.5"]] * count
    asked = {source for game in several.games for call in game.engine.asked for source in call}
    assert asked == {source for call in alone.games[0].engine.asked for source in call}
