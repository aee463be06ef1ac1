"""What callbacks ask of modules and data modules, which they never import."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torchmetrics import Metric

from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics
from prism_pl.types import Prompt, Rollouts

_Contract = TypeVar("_Contract")


class Exportable(Protocol):
    """A network that can be written as a Hugging Face folder."""

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors by name. All ranks of a sharded network must exhaust it."""

    def adapters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """LoRA's part of them; empty without adapters."""

    def save(
        self, folder: Path, source: str, weights: dict[str, torch.Tensor], adapters: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Writes the folder; the processor is copied from ``source``."""


@runtime_checkable
class Stage(Protocol):
    """Any of the four stages."""

    policy_path: str
    """The model that it starts from."""
    export_dtype: Literal["auto", "float32", "bfloat16"]
    """Precision of the networks that are written."""
    latest: dict[str, float]
    """The last value of every metric."""

    def exports(self) -> dict[str, Exportable]:
        """Networks to write, by folder name; the first is the stage's result."""

    def gather(self, own: Any) -> list[Any]:
        """Every rank's object, in the order of the ranks."""

    def whole_batch(self, own: list[Any], places: Sequence[int] | None = None) -> list[Any]:
        """The values of all ranks' rows, in the order of the batch; ``places`` there of this rank's."""

    def report(self, metrics: StepMetrics) -> dict[str, float]:
        """Logs the values over all ranks and resets them; returns what was logged."""

    def heldout_metrics(self) -> dict[str, Metric]:
        """What ``add_heldout_metrics`` adds to."""

    def add_heldout_metrics(self, rollouts: Rollouts, metrics: StepMetrics) -> None:
        """The stage's own figures on held-out prompts. A collective: all ranks must call it equally often."""


@runtime_checkable
class PolicyStage(Stage, Protocol):
    """A stage that trains a policy."""

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Whole tensors for an engine. All ranks must exhaust it."""

    def prepare(self, model: Any) -> None:
        """Makes a freshly loaded network what the strategy and the options want: fp32, in shards if there are any."""


@runtime_checkable
class RolloutStage(PolicyStage, Protocol):
    """A stage that learns from the policy's own responses."""

    @property
    def max_resampling(self) -> int:
        """Rounds of further prompts that replace groups of no use; 0 keeps all groups."""

    @property
    def corrects_mismatch(self) -> bool:
        """Whether the loss corrects for responses that other weights than the trainer's have sampled."""

    def updates_in(self, batches: int) -> int:
        """Updates of the policy in the next so many rollout batches, if none of them is left out."""

    def usable_groups(self, rollouts: Rollouts) -> torch.Tensor:
        """True for the groups (P,) that the stage would learn from."""

    def response_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        """Log-probabilities of each response's tokens under the present weights, by its index in B."""


@runtime_checkable
class PromptSource(Protocol):
    """A data module that gives prompts."""

    max_prompt_tokens: int

    def draw(self, count: int, *words: int | str) -> list[str]:
        """Names ``file:row`` of random prompts: a function of the seed and ``words``."""

    def by_source(self, sources: list[str]) -> list[Prompt]:
        """The prompts that earlier batches called ``file:row``."""

    def upcoming(self, batches: int) -> list[Prompt] | None:
        """This rank's prompts of the batch that comes so many after the present one, or None if the last epoch ends before
        it. Nothing is taken by it: the batch comes all the same."""


def require(value: object, contract: type[_Contract], asker: str) -> _Contract:
    """``value`` as what ``asker`` needs. Raises UserError if it is something else."""
    if not isinstance(value, contract):
        raise UserError(f"{asker} needs a {contract.__name__}, and {type(value).__name__} is none.")
    return value
