"""Which stages a run's folder holds: their kinds, their order, the policy each starts from, their titles and colours.

A stage is a folder that a ``fit`` has left; the class in its ``config.yaml`` says its kind. Order, ancestry and titles come
from the graph that a pipeline records. Without one the configurations say who starts from whom.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prism_pl.runs.graph import RecordedStage, read_graph

KINDS = {"SFTModule": "sft", "DiscriminatorModule": "warmup", "AdversarialAlignModule": "align", "RLVRModule": "rlvr"}
"""By the name of the stage's class."""
OTHER = "other"
"""Kind of a stage of any other class."""
TEACHER_COLOUR = "#5b6470"

_CONFIG = "config.yaml"
_POLICY_KEY = "model.policy.path"
# What a pipeline kept of a stage that it redid.
_SET_ASIDE = re.compile(r".+\.\d+")
# Role: the title of the model, that of the training, and the colour of the first stage with the role. Okabe and Ito's
# colours are told apart by colour-blind readers, too.
_ROLES = {
    "sft": ("SFT", "SFT", "#0072b2"),
    "warmup": ("warm-up", "warm-up", "#8a929c"),
    "align": ("aligned", "alignment", "#e69f00"),
    "rlvr": ("RLVR", "RLVR", "#009e73"),
    "after": ("RLVR after alignment", "RLVR after alignment", "#009e73"),
    "without": ("RLVR without alignment", "RLVR without alignment", "#d55e00"),
}
_FURTHER_COLOURS = ("#56b4e9", "#7a5195", "#999933", "#a6611a", "#4d4d4d")


@dataclass(frozen=True)
class StageInfo:
    """A stage before its files are read."""

    name: str
    kind: str
    """One of ``KINDS``, or ``OTHER``."""
    policy: str | None
    """The stage whose model its policy starts from; None if that is none of this run's."""
    title: str
    """Of its model."""
    phase: str
    """Of the training itself."""
    colour: str


def find_stages(folder: Path, missing: list[str]) -> list[StageInfo]:
    """The stages in order; appends a sentence about each one of the graph that is not there."""
    recorded = {stage.name: stage for stage in read_graph(folder) or () if stage.command == "fit"}
    configs = {
        path.name: config
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.name in recorded or not _SET_ASIDE.fullmatch(path.name)
        if (config := _config(path)) is not None
    }
    missing += [
        f"Stage {name} is missing: there is no {folder / name / _CONFIG}." for name in recorded if name not in configs
    ]
    kinds = {name: KINDS.get(config["class_path"].rpartition(".")[2], OTHER) for name, config in configs.items()}
    policies = {name: _policy(recorded.get(name), config, folder) for name, config in configs.items()}
    places, ranks = list(recorded), [*KINDS.values(), OTHER]

    def place(name: str) -> tuple[int, int, int]:
        listed = places.index(name) if name in recorded else len(places)
        return listed, ranks.index(kinds[name]), len(ancestors(name, policies))

    return _named(sorted(configs, key=place), kinds, policies, {name: stage.title for name, stage in recorded.items()})


def ancestors(name: str, policies: Mapping[str, str | None]) -> list[str]:
    """The stages that a stage's policy went through before it, the nearest first."""
    found: list[str] = []
    while (source := policies.get(name)) is not None and source not in found:
        found.append(source)
        name = source
    return found


def _config(folder: Path) -> dict[str, Any] | None:
    """The ``model`` of a stage's configuration; None for what is no stage."""
    file = folder / _CONFIG
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    model = content.get("model") if isinstance(content, dict) else None
    return model if isinstance(model, dict) and "class_path" in model else None


def _policy(recorded: RecordedStage | None, model: dict[str, Any], folder: Path) -> str | None:
    if recorded is not None:
        return recorded.inputs.get(_POLICY_KEY)
    given = ((model.get("init_args") or {}).get("policy") or {}).get("path") or ""
    # ``<run>/<stage>/model``: the run's folder may lie elsewhere now, under its old name.
    run, stage = ("", "", "", *Path(given).parts)[-3:-1]
    return stage if run == folder.resolve().name else None


def _named(
    names: Sequence[str], kinds: Mapping[str, str], policies: Mapping[str, str | None], given: Mapping[str, str | None]
) -> list[StageInfo]:
    roles = _roles(names, kinds, policies)
    often = Counter(roles.values())
    colours, further = {role: colour for role, (_, _, colour) in _ROLES.items()}, list(_FURTHER_COLOURS)
    infos = []
    for name in names:
        role = roles[name]
        title, phase = _ROLES[role][:2] if role in _ROLES else (name.replace("_", " "),) * 2
        if role in _ROLES and often[role] > 1:
            title, phase = f"{title} ({name})", f"{phase} ({name})"
        if own := given.get(name):
            title = phase = own
        colour = colours.pop(role, None) or further[0]
        if colour == further[0]:
            further = [*further[1:], further[0]]
        infos.append(StageInfo(name, kinds[name], policies[name], title, phase, colour))
    return infos


def _roles(names: Sequence[str], kinds: Mapping[str, str], policies: Mapping[str, str | None]) -> dict[str, str]:
    """RLVR is told apart by whether its policy was aligned, where the run has both; SFT by its name."""
    aligned = {name for name in names if any(kinds.get(other) == "align" for other in ancestors(name, policies))}
    rlvr = {name for name in names if kinds[name] == "rlvr"}
    branches = bool(rlvr & aligned and rlvr - aligned)
    only_sft = sum(kinds[name] == "sft" for name in names) == 1

    def role(name: str) -> str:
        kind = kinds[name]
        if kind == "rlvr" and branches:
            return "after" if name in aligned else "without"
        return OTHER if kind == "sft" and not (only_sft or name == "sft") else kind

    return {name: role(name) for name in names}
