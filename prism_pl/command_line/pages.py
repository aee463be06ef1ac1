"""Help: the overview of all commands, and a page for each. Nothing that a command needs is imported for them."""

import textwrap
from itertools import groupby

from prism_pl import ranges
from prism_pl.command_line.catalogue import CATALOGUE, Command
from prism_pl.command_line.configurations import given_configs, read_config, settings, stage_configs
from prism_pl.command_line.kinds import in_words
from prism_pl.command_line.outline import Option, options, summary

_PROGRAM = "python -m prism_pl"
_INDENT = 30
_WIDTH = 110

_DEFAULTS = {
    "None": "null", "field(default_factory=dict)": "{}", "field(default_factory=list)": "[]", "SYSTEM_PROMPT": "PRISM's",
}  # fmt: skip

_FIT = """
usage: python -m prism_pl fit --config NAME [--KEY VALUE ...]

Trains one stage. A configuration sets its keys, the command line overrides them; a key of a class's options follows the
class's own: --model.algorithm=GSPO --model.algorithm.clip_high=5e-4.

{config}
  --run_dir FOLDER            everything the run writes; an unfinished run in it is continued, a finished one set aside
  --seed_everything N         seed of the run
  --model CLASS, --data CLASS, and --model.KEY, --data.KEY: the stage's method and its data
  --data.path SOURCE          a file, or how to read one: {{path: FILE, image_root: FOLDER, columns: {{answer: solution}},
                              ignore: [tools], system_prompt: TEXT}} (docs/data.md)
  --model.policy.path MODEL   what the stage starts from: a folder or a name on the hub
  --trainer.KEY               Lightning's trainer: max_steps, devices, strategy, precision, logger, callbacks ...
  --checkpoint.KEY            when checkpoints are written: every_n_train_steps, save_top_k ...

To see the rest:
  fit --config NAME --help            the keys that this configuration sets, with their values
  fit --config NAME --print_config    every key with its value, defaults included, as YAML to start from
  fit --model.help CLASS              what a class takes, such as RLVRModule; --data.help PromptDataModule likewise
  fit --help-all                      every option of the command line (the last three load torch first)
""".strip()

_CHECK = """
usage: python -m prism_pl check-data --config NAME [--write-clean FOLDER] [--KEY VALUE ...]

Reads every row of a stage's data with the real processor, prints token lengths and each bad row with its reason, and
exits with 1 if a run would stop. It takes every option that fit takes, with the same meaning, such as --data.path
mine.parquet or --data.max_prompt_tokens 1024.

{config}
  --data.KEY                  overrides the configuration, as in fit
  --data.path SOURCE          a file, or how to read one: {{path: FILE, image_root: FOLDER, columns: {{answer: solution}},
                              ignore: [tools], system_prompt: TEXT}} (docs/data.md)
  --write-clean FOLDER        writes the good rows of each file to this folder

  check-data --config NAME --help     the keys that this configuration sets, with their values
""".strip()


_PLAN = """
usage: python -m prism_pl plan --config NAME [--gpus N] [--gpu H100] [--gpu-memory 80GB] [--KEY VALUE ...]

Memory a GPU by part and phase, host memory, tokens, FLOPs and expected seconds of a step, and the nearest setting that fits
if the stage does not. Arithmetic alone: neither a GPU nor the model's weights are needed. It takes every option that fit
takes.

{config}
  --gpus N                    devices over all nodes (default the configuration's trainer.devices)
  --gpu NAME                  H100, H200, A100 or L40S, for their peaks (default H100)
  --gpu-memory SIZE           of each GPU, such as 80GB or 80GiB (default the device's)
  --prompt-tokens N, --response-tokens N: mean lengths (default half of a prompt's limit, a quarter of a response's)
  --strategies                instead of the plan: the smallest GPU that fits, by strategy and number of GPUs
  --table FOLDER              instead of --config: a row in Markdown for each configuration in this folder of configs/

  plan --config NAME --help   the keys that this configuration sets, with their values
""".strip()


def overview() -> str:
    """Every command in its group, with one line."""
    lines = [f"usage: {_PROGRAM} COMMAND [--KEY VALUE ...]", "", "Post-training of multimodal models, from SFT to RLVR."]
    for group, commands in groupby(CATALOGUE, key=lambda command: command.group):
        lines += ["", group, *(f"  {command.name:<12} {command.about}" for command in commands)]
    return "\n".join([*lines, "", f"{_PROGRAM} COMMAND --help shows a command's options."])


def page(command: Command, arguments: list[str]) -> str:
    """A command's options; of a configuration that ``arguments`` name, also the keys it sets."""
    if command.function is None:
        known = f"a file, or one of configs/: {', '.join(stage_configs())}"
        text = {"fit": _FIT, "plan": _PLAN, "check-data": _CHECK}[command.name].format(
            config="\n".join(_entry("--config NAME", known))
        )
    else:
        text = _function_page(command)
    for file in given_configs(arguments):
        keys = [f"  --{key} {value}" for key, value in settings(read_config(file))]
        text += "\n".join([f"\n\n{file} sets:", *keys])
    return text


def _function_page(command: Command) -> str:
    assert command.function is not None
    words = f" {_words(command.positional)}" if command.positional else ""
    lines = [
        f"usage: {_PROGRAM} {command.name}{words} [--KEY VALUE ...]",
        "",
        *textwrap.wrap(summary(command.function), _WIDTH),
        "",
    ]
    if command.configurable:
        lines += _entry("--config NAME", "a file, or one of configs/, that gives these keys")
    for option in options(command.function):
        flag = f"--{option.name} {_placeholder(option)}"
        lines += _entry(_words(option.name) if option.name == command.positional else flag, _explained(option))
    return "\n".join([*lines, "", f"{_PROGRAM} {command.name} --help-all also shows what the classes take."])


def _words(positional: str) -> str:
    """How the words before the first flag are shown.

    >>> _words("runs")
    'RUN [RUN ...]'
    """
    one = positional.removesuffix("s").upper()
    return f"{one} [{one} ...]"


def _placeholder(option: Option) -> str:
    return option.kind.removesuffix(" | None")


def _explained(option: Option) -> str:
    range_of = getattr(ranges, _placeholder(option), None)
    words = [in_words(range_of)] if range_of else []
    default = _DEFAULTS.get(option.default or "", option.default)
    note = "required" if default is None else f"default {default}"
    return f"{option.help} ({', '.join([*words, note])})".strip()


def _entry(flag: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, _WIDTH - _INDENT)
    if len(flag) + 4 > _INDENT:
        return [f"  {flag}", *(" " * _INDENT + line for line in wrapped)]
    return [f"  {flag:<{_INDENT - 2}}{wrapped[0]}", *(" " * _INDENT + line for line in wrapped[1:])]
