"""``plan``: what a stage needs of its GPUs, before it starts. No GPU and no weights are needed.

A model that is neither here nor in the hub's cache is taken for its size: by its name if it is a Qwen3-VL, or by the
configuration of ``configs/`` whose run would write it.
"""

import argparse
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prism_pl.command_line.configurations import FOLDER, known_configs, read_config
from prism_pl.errors import UserError
from prism_pl.planning import (
    DEVICES,
    Origin,
    Plan,
    make_plan,
    make_work,
    nearest_fit,
    parse_bytes,
    read_settings,
)
from prism_pl.planning.tables import cure, line, report, row

_STRATEGIES = {
    "ddp": "32-true",
    "fsdp2": None,
    "fsdp2_offload": None,
    "deepspeed_stage_2": "32-true",
    "deepspeed_stage_2_offload": "32-true",
    "deepspeed_stage_3": "32-true",
    "deepspeed_stage_3_offload": "32-true",
}
"""With the precision that they compute in, if it is not the configuration's."""
_COUNTS, _A_NODE = (1, 8, 16), 8
_MEMORIES = ("24 GB", "40 GB", "80 GB", "141 GB")


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What the command takes beside the stage's own keys."""

    gpu: str = "H100"
    """H100, H200, A100 or L40S: its peaks."""
    gpus: int | None = None
    """Devices over all nodes; null takes the configuration's."""
    gpu_memory: str | None = None
    """Of each GPU, such as 80GB; null takes the device's."""
    prompt_tokens: int | None = None
    """Mean length of a prompt; null is half its limit."""
    response_tokens: int | None = None
    """Mean length of a response; null is a quarter of its limit."""

    def plan(self, config: Mapping[str, Any]) -> Plan:
        """Of a stage's complete configuration."""
        device = DEVICES.get(self.gpu)
        if device is None:
            raise UserError(f"--gpu: {self.gpu} is none of {', '.join(DEVICES)}.")
        memory = device.memory if self.gpu_memory is None else parse_bytes(self.gpu_memory, "--gpu-memory")
        known = {"prompt_tokens": self.prompt_tokens, "response_tokens": self.response_tokens}
        for name, value in {"gpus": self.gpus, **known}.items():
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')}: it is {value}, and must be a whole number of at least 1.")
        return make_plan(read_settings(config, origin_of, self.gpus, known), memory)


def plan_arguments(arguments: list[str]) -> tuple[PlanOptions, str | None, bool, list[str]]:
    """The command's own options, the folder of ``--table`` if it is given, whether ``--strategies`` is, and the arguments
    that ``fit`` takes, too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--table")
    parser.add_argument("--strategies", action="store_true")
    for name, kind in (("gpu", str), ("gpus", int), ("gpu-memory", str), ("prompt-tokens", int), ("response-tokens", int)):
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS)
    own, others = parser.parse_known_args(arguments)
    for name in (other.split("=")[0] for other in others if other.startswith("--")):
        # What is misspelt would be looked for among fit's keys, which are others.
        meant = difflib.get_close_matches(name, [option for action in parser._actions for option in action.option_strings])
        if meant and "." not in name:
            raise UserError(f"{name}: plan has no such option. Did you mean {meant[0]}?")
    options = PlanOptions(**{key: value for key, value in vars(own).items() if key not in ("table", "strategies")})
    return options, own.table, own.strategies, others


def text_of(config: Mapping[str, Any], options: PlanOptions) -> str:
    """The whole table of one stage."""
    plan = options.plan(config)
    remedy = None if plan.fits or plan.memory is None else nearest_fit(plan.settings, plan.memory)
    memory = "" if plan.memory is None else f" {plan.memory / 1e9:.1f} GB"
    return report(plan, make_work(plan, DEVICES[options.gpu]), f"{options.gpu}{memory}", remedy)


def row_of(name: str, config: Mapping[str, Any], options: PlanOptions) -> str:
    """The stage's row in the table of docs/scaling.md."""
    plan = options.plan(config)
    return row(name, plan, make_work(plan, DEVICES[options.gpu]))


def strategies_of(config: Mapping[str, Any], options: PlanOptions) -> list[str]:
    """Rows in Markdown: the smallest GPU on which the stage fits, by strategy and number of GPUs, eight of them a node.

    Those that compute in fp32 alone are planned so. Of 141 GB and less; ``-`` where none is large enough.
    """
    rows = [
        "| strategy | " + " | ".join("1 GPU" if count == 1 else f"{count} GPUs" for count in _COUNTS) + " |",
        "| --- |" + " --- |" * len(_COUNTS),
    ]
    for strategy, precision in _STRATEGIES.items():
        cells = []
        for count in _COUNTS:
            nodes = max(count // _A_NODE, 1)
            chosen = {"strategy": strategy, "devices": count // nodes, "num_nodes": nodes}
            chosen |= {} if precision is None else {"precision": precision}
            own = {**config, "trainer": {**config["trainer"], **chosen}}
            plans = ((memory, replace(options, gpus=None, gpu_memory=memory).plan(own)) for memory in _MEMORIES)
            fitting = (f"{memory} ({plan.peak.total / 1e9:.0f})" for memory, plan in plans if plan.fits)
            cells.append(next(fitting, "-"))
        rows.append(f"| `{strategy}` | " + " | ".join(cells) + " |")
    return rows


def check_plan(config: Mapping[str, Any], devices: int, memory: float, *, ignore: bool) -> str:
    """The plan in one line, for a run on GPUs of so much memory.

    Raises UserError with the nearest setting that fits if it does not, unless ``ignore``.
    """
    try:
        plan = make_plan(read_settings(config, origin_of, devices), memory)
    except UserError as error:
        return f"plan: none is made: {error}"
    if plan.fits:
        return line(plan)
    if ignore:
        return f"{line(plan)}. It does not fit by the plan, and goes on by --ignore_plan."
    raise UserError(
        f"This stage cannot fit by its plan: {'; '.join(plan.problems)}. {cure(nearest_fit(plan.settings, memory))} See "
        f"all of it with `python -m prism_pl plan` and the same arguments; `--ignore_plan true` goes on."
    )


def preset_configs(folder: str) -> dict[str, list[str]]:
    """The configurations below a folder of ``configs/`` by name, each with the arguments that name all its files."""
    found = [name for name in known_configs() if name.startswith(f"{folder.rstrip('/')}/")]
    if not found:
        raise UserError(f"--table: configs/ holds no configuration in {folder}.")
    named = {name: [part for file in own_configs(name) for part in ("--config", str(FOLDER / file))] for name in found}
    return {Path(name).stem: arguments for name, arguments in named.items()}


def origin_of(path: str) -> Origin | None:
    """What a run of ``configs/`` makes its model from, by its path."""
    folder = Path(path)
    for name in known_configs():
        if read_config(FOLDER / name).get("run_dir") != str(folder.parent):
            continue
        options = merged(own_configs(name))["model"]["init_args"]
        policy, network = options["policy"]["path"], options.get("discriminator") or {}
        warmed = "discriminator" in options and (folder.name == "discriminator" or "advantage" not in options)
        return Origin(policy, (network.get("init_args") or {}).get("path") if warmed else None)
    return None


def own_configs(name: str) -> list[str]:
    """The configurations that run one of ``configs/``: those of the command in its first lines that ends with it."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for command in re.findall(r"^#.*prism_pl fit (.*)$", text, re.MULTILINE):
        files = re.findall(r"--config (\S+)", command)
        if files and files[-1] == name:
            return files
    return [name]


def merged(names: list[str]) -> dict[str, Any]:
    """Configurations laid over each other, as they are written: without defaults."""
    result: dict[str, Any] = {}
    for name in names:
        _lay_over(result, read_config(FOLDER / name))
    return result


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay_over(below[key], value)
        else:
            below[key] = value
