"""Whichever groups are finished first fill a batch: each prompt comes once and in time, in whatever order they finish."""

import random
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callbacks import RolloutCallback
from callbacks.finished_first import FinishedFirst
from prism_pl.engines import ProcessEngine, TransformersEngine, VLLMServerEngine
from prism_pl.engines.base import Begun, Sampled, stamped
from prism_pl.errors import UserError
from prism_pl.types import Prompt, Response, SamplingOptions
from tests.callbacks.test_rollout import Echo, Module, prompt

SAMPLING = SamplingOptions(max_new_tokens=1, group_size=2)


class Scripted(Echo):
    """Says of each prompt whether its group is finished by a function of its own; whoever waits for it gets it."""

    beside = updates_in_flight = True

    def __init__(self, is_finished: Any) -> None:
        super().__init__()
        self.is_finished = is_finished

    def begin(self, prompts: Any, seeds: Any, samplings: Any) -> Begun:
        self.asked.append([own.source for own in prompts])
        groups = [[[Response((1,), (0.0,), own.source, False)] * 2 for own in prompts]]
        sampled = Sampled(stamped(groups, self.version), 1.0)
        return Begun(lambda: sampled, lambda: self.is_finished(prompts[0].source))

    def take(self, weights: Any, version: int, in_flight: bool = False) -> None:
        assert in_flight
        super().take(weights, version)


def name(batch: int, place: int) -> str:
    return f"{batch}.{place}"


@dataclass
class World:
    """The ranks of a run in one process, which asks one rank after the other and lets them exchange what they gather."""

    world_size: int
    batch_size: int
    """Over all ranks."""
    overlap: int
    batches: int
    """Of the whole run."""
    is_finished: Any
    state: dict[str, Any] = field(default_factory=dict)
    first: int = 0
    """Batch, that this run goes on with."""

    def __post_init__(self) -> None:
        self.present, self.told = self.first, {}
        self.engines = [Scripted(self.is_finished) for _ in range(self.world_size)]
        for engine in self.engines:
            engine.take(iter(()), self.first, in_flight=True)
        self.ranks = [self._rank(rank) for rank in range(self.world_size)]
        for rank in self.ranks:
            rank.load_state(self.state)

    def _rank(self, rank: int) -> FinishedFirst:
        stage: Any = Module(set(), 0)
        stage.gather = lambda own: self._gather(rank, own)
        data: Any = SimpleNamespace(
            upcoming=lambda ahead: self._prompts(rank, self.present + ahead) if self._exists(ahead) else None,
            by_source=lambda sources: [prompt(source.removeprefix("rows:")) for source in sources],
        )
        return FinishedFirst(self.overlap, self.engines[rank], SAMPLING, stage, data, 0)

    def _exists(self, ahead: int) -> bool:
        return self.present + ahead < self.batches

    def _prompts(self, rank: int, batch: int) -> list[Prompt]:
        return [prompt(name(batch, place)) for place in range(rank, self.batch_size, self.world_size)]

    def _gather(self, rank: int, own: Any) -> list[Any]:
        """What all have told in this batch so far: complete for the last rank, whose state is everyone's."""
        self.told[rank] = own
        return [self.told[other] for other in range(self.world_size) if other in self.told]

    def step(self) -> list[list[tuple[str, int]]]:
        """Of each rank what it learns from, with the version of the weights. One update a batch."""
        learnt = []
        self.told = {}
        for rank, ahead in enumerate(self.ranks):
            trainer = SimpleNamespace(
                global_step=self.present, max_steps=self.batches, global_rank=rank, world_size=self.world_size
            )
            rollouts = ahead.next(trainer, self._prompts(rank, self.present))
            ahead.ask(trainer)
            learnt.append([(group[0].text.removeprefix("rows:"), group[0].version) for group in rollouts.responses])
        self.state = self.ranks[-1].state()
        self.present += 1
        for engine in self.engines:
            engine.take(iter(()), self.present, in_flight=True)
        return learnt


def test_fast_groups_come_early_and_slow_ones_half_a_batch_late() -> None:
    """Batches of four prompts, the last two of each slow; two batches of overlap: 4 + 2 prompts are open."""
    world = World(1, 4, 2, 4, lambda source: source[-1] in "01")
    assert [[own for own, _ in world.step()[0]] for _ in range(4)] == [
        # 0.0 to 0.3, 1.0, 1.1 are open. The slow ones of batch 0 may come one batch later.
        ["0.0", "0.1", "1.0", "1.1"],
        # And have to now. So may those of batch 1 again; 2.0 and 2.1 are finished.
        ["0.2", "0.3", "2.0", "2.1"],
        ["1.2", "1.3", "3.0", "3.1"],
        # The last batch has no choice.
        ["2.2", "2.3", "3.2", "3.3"],
    ]
    assert world.ranks[0].early_share == 0
    assert world.state == {"late": [], "early": []}


def test_what_a_checkpoint_holds() -> None:
    world = World(1, 4, 2, 4, lambda source: source[-1] in "01")
    world.step()
    assert world.ranks[0].early_share == 0.5
    assert world.state == {"late": ["rows:0.2", "rows:0.3"], "early": [(0, 0), (0, 1)]}
    again = World(1, 4, 2, 4, lambda source: source[-1] in "01", world.state, 1)
    assert [own for own, _ in again.step()[0]] == ["0.2", "0.3", "2.0", "2.1"]
    assert again.engines[0].asked[:4] == [["rows:0.2"], ["rows:0.3"], ["rows:1.2"], ["rows:1.3"]]


def test_a_run_that_takes_prompts_in_order_goes_on_as_with_overlap() -> None:
    """All are finished at once: then the first asked for are taken."""
    world = World(1, 4, 3, 5, lambda source: True)
    assert [[own for own, _ in world.step()[0]] for _ in range(5)] == [
        [name(batch, place) for place in range(4)] for batch in range(5)
    ]


@given(
    world_size=st.integers(1, 3),
    later_size=st.integers(1, 3),
    share=st.integers(1, 5),
    overlap=st.integers(2, 4),
    batches=st.integers(1, 8),
    stop=st.integers(0, 8),
    seed=st.integers(0, 10**6),
    slow=st.floats(0, 1),
)
def test_each_prompt_comes_once_and_in_time(
    world_size: int, later_size: int, share: int, overlap: int, batches: int, stop: int, seed: int, slow: float
) -> None:
    """In any order, with a stop after any batch, from which as many ranks as one likes go on."""
    dice, finished = random.Random(seed), set()

    def is_finished(source: str) -> bool:
        if dice.random() >= slow * 0.9:
            finished.add(source)
        return source in finished

    batch_size = share * 6
    world = World(world_size, batch_size, overlap, batches, is_finished)
    learnt: Counter[str] = Counter()
    for batch in range(batches):
        if batch == stop:
            world = World(later_size, batch_size, overlap, batches, is_finished, world.state, batch)
        groups = world.step()
        for own in groups:
            assert len(own) == batch_size // world.world_size
        for source, version in (pair for own in groups for pair in own):
            learnt[source] += 1
            assert batch - overlap <= version <= batch
            if stop >= batches:
                its_batch, place = map(int, source.split("."))
                # Half a batch late at most.
                rank_size = batch_size // world.world_size
                assert batch <= its_batch + (place // world.world_size + rank_size // 2) // rank_size
    assert learnt == Counter(name(batch, place) for batch in range(batches) for place in range(batch_size))
    assert world.state == {"late": [], "early": []}


def test_prompts_that_no_batch_comes_for_are_not_asked_for() -> None:
    """Three of four batches are left when an update is left out, so that there is one more than was foreseen."""
    world = World(1, 2, 2, 3, lambda source: True)
    for _ in range(3):
        world.step()
    assert len(world.engines[0].asked) == 6
    world.batches = 4
    world.step()
    assert world.engines[0].asked[6:] == [["rows:3.0"], ["rows:3.1"]]


def test_other_prompts_than_were_foreseen_end_the_run() -> None:
    world = World(1, 2, 2, 4, lambda source: True)
    world.step()
    world.present = 2
    with pytest.raises(RuntimeError, match="after update 2 are not those that the data module has said"):
        world.step()


def test_a_checkpoint_of_another_order_is_refused() -> None:
    world = World(1, 4, 2, 4, lambda source: source[-1] in "01")
    world.step()
    given_order = RolloutCallback(Scripted(None), SAMPLING, overlap=2)
    trainer = SimpleNamespace(datamodule=Data(), global_rank=0, world_size=1)
    given_order.setup(trainer, Module(set(), 0), "fit")
    with pytest.raises(UserError, match=r"RolloutCallback.order: it was finished .* with 2 prompts learnt from before"):
        given_order.on_load_checkpoint(trainer, None, {"surplus": [], "ahead": world.state})


class Data:
    """A PromptSource that is not asked."""

    max_prompt_tokens = 8

    def draw(self, *_: Any) -> Any: ...

    def by_source(self, *_: Any) -> Any: ...

    def upcoming(self, *_: Any) -> Any: ...


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(UserError, match=r"order: finished needs an engine .*VLLMServerEngine, and ProcessEngine is none"):
        RolloutCallback(ProcessEngine(TransformersEngine("cpu")), SAMPLING, overlap=2, order="finished")
    for overlap in (0, 1):
        with pytest.raises(UserError, match=f"order: finished needs an overlap of at least 2. It is {overlap},"):
            RolloutCallback(VLLMServerEngine(num_servers=1), SAMPLING, overlap=overlap, order="finished")
