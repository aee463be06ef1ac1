"""Every number that a configuration can set has its range; the numbers stay plain."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge
from jsonargparse import ArgumentParser
from torch.optim import Optimizer

import callbacks
import datamodules
import modules
from callbacks.rollout import ProbeOptions
from modules.align import CadenceOptions
from modules.stage import StageModule
from modules.updates import ScheduleOptions
from prism_pl import ranges
from prism_pl.algorithms import AdvantageEstimator, Algorithm, PolicyObjective
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import ReuseOptions
from prism_pl.command_line.catalogue import CATALOGUE
from prism_pl.command_line.front import load
from prism_pl.command_line.kinds import class_bases, in_words, is_plain, known_classes
from prism_pl.data.files import DataSource
from prism_pl.discriminators import Discriminator
from prism_pl.endpoint import EndpointOptions
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.game import AdversarialAdvantage, DiscriminatorLossOptions, HealthLimits, ReplayOptions, TwoSampleOptions
from prism_pl.model.adapters import LoraOptions
from prism_pl.rewards import JudgeEndpoint
from prism_pl.types import SamplingOptions

BASES = (AdversarialAdvantage, Algorithm, AdvantageEstimator, PolicyObjective, Discriminator, RolloutEngine)
OWN = [
    getattr(package, name)
    for package in (callbacks, datamodules, modules)
    for name in package.__all__
    if not name.endswith(("Logger", "Strategy"))
]
CLASSES = [
    *(cls for base in BASES for cls in known_classes(base).values()), *OWN, StageModule,
    CadenceOptions, DataSource, DiscriminatorLossOptions, EndpointOptions, HealthLimits, JudgeEndpoint,
    LoraOptions, MismatchOptions,
    ProbeOptions, ReplayOptions, ReuseOptions, SamplingOptions, ScheduleOptions, TwoSampleOptions,
]  # fmt: skip
FUNCTIONS = [command for command in CATALOGUE if command.function is not None]


def bare_numbers(hint: Any) -> Iterator[type]:
    if hint in (int, float):
        yield hint
    elif get_origin(hint) is not Annotated:
        for part in get_args(hint):
            yield from bare_numbers(part)


def unbounded(target: Any) -> list[str]:
    hints = get_type_hints(target, include_extras=True)
    return [name for name, hint in hints.items() if name != "return" and any(bare_numbers(hint))]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_number_of_a_class_has_its_range(cls: type) -> None:
    assert unbounded(cls.__init__) == []


@pytest.mark.parametrize("command", FUNCTIONS, ids=lambda command: command.name)
def test_every_number_of_a_command_has_its_range(command: Any) -> None:
    assert unbounded(load(command)) == []


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("PositiveInt", [1, 10**6], [0, -1, 1.5]),
        ("NonNegativeInt", [0, 3], [-1]),
        ("PositiveFloat", [1e-9, 1, 5.0], [0, -0.1]),
        ("NonNegativeFloat", [0, 0.5], [-1e-9, float("nan")]),
        ("Share", [0, 0.5, 1], [-0.01, 1.01, float("nan")]),
        ("PositiveShare", [0.01, 1], [0, 1.01]),
        ("AtLeastOne", [1, 1.5], [0.99]),
    ],
)
def test_a_range_takes_what_is_inside_and_keeps_it_plain(kind: str, inside: list[Any], outside: list[Any]) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=getattr(ranges, kind))
    for value in inside:
        found = parser.parse_args([f"--value={value}"]).value
        assert found == value
        assert type(found) in (int, float)
    for value in outside:
        with pytest.raises(Exception, match="Parser key"):
            parser.parse_args([f"--value={value}"])


def test_ranges_in_words() -> None:
    assert in_words(ranges.PositiveInt) == "a whole number of at least 1"
    assert in_words(ranges.PositiveShare | None) == "a number of more than 0 and at most 1, or null"
    assert in_words(list[Annotated[int, Ge(2)]]) == "a list, each a whole number of at least 2"
    assert in_words(str | DataSource) == "text, or a DataSource"


def test_classes_to_choose_from() -> None:
    assert list(known_classes(Algorithm))[:3] == ["CISPO", "DAPO", "DrGRPO"]
    # One that others derive from is one, too.
    assert {"Adam", "AdamW", "SGD"} < known_classes(Optimizer).keys()
    # Shared bases are not for configurations.
    assert not {"Dense", "Mixture", "Discriminator"} & known_classes(Discriminator).keys()
    assert known_classes(LoraOptions) == {"LoraOptions": LoraOptions}
    assert list(class_bases(LoraOptions | None)) == [LoraOptions]
    assert is_plain(LoraOptions)
    assert not is_plain(Algorithm)


def test_a_window_without_an_inside_is_refused() -> None:
    MismatchOptions(action="mask", low=0.5, cap=2.0)
    with pytest.raises(UserError, match=r"model.mismatch.low is 3.0, more than model.mismatch.cap, 2.0"):
        MismatchOptions(action="mask", low=3.0)
