"""Help, and completion in the shell: they know every command and its options, and import nothing that a command needs."""

import dataclasses
import json
import subprocess
import sys

import pytest
from jsonargparse import ArgumentParser

from prism_pl.command_line.catalogue import CATALOGUE, Command
from prism_pl.command_line.configurations import known_configs
from prism_pl.command_line.front import load
from prism_pl.command_line.outline import options
from prism_pl.command_line.pages import overview
from prism_pl.commands.completion import option_names, script
from prism_pl.data.files import DataSource
from prism_pl.vllm_server import ServerOptions
from tests.command_line import run

NAMES = [command.name for command in CATALOGUE]
WITH_FUNCTION = [command for command in CATALOGUE if command.function is not None]
HEAVY = ("torch", "lightning", "transformers", "datasets", "numpy", "callbacks", "modules", "datamodules")
PROBE = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["prism_pl", *arguments]
    try:
        runpy.run_module("prism_pl", run_name="__main__")
    except SystemExit:
        pass
    print(f"\\nimported by {arguments}: {sorted(sys.modules.keys() & set(%r))}")
"""


def test_help_and_completion_import_nothing_heavy() -> None:
    lines = [[], ["--help"], *([name, "--help"] for name in NAMES), ["fit", "--config", "rlvr.yaml", "-h"]]
    lines += [["completion", "--shell", "bash"], ["fitt"], ["fit", "--config", "aling.yaml"]]
    command = [sys.executable, "-c", PROBE % (HEAVY,), json.dumps(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("imported by")]
    assert found == [f"imported by {line}: []" for line in lines]


def test_the_overview_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    bare = capsys.readouterr().out
    assert run("--help") == 0
    assert capsys.readouterr().out == bare == overview() + "\n"
    groups: dict[str, list[str]] = {}
    for line in bare.splitlines()[3:-2]:
        if line and not line.startswith(" "):
            names = groups.setdefault(line, [])
        elif line:
            names.append(line.split()[0])
            assert len(line.split()) > 4
    assert groups == {
        "Train": ["fit", "pipeline", "study"],
        "Data": ["check-data", "filter", "pairs", "curate"],
        "Models": ["export", "upcycle"],
        "Look": ["plan", "measure", "evaluate", "report", "doctor", "completion"],
    }


@pytest.mark.parametrize("command", WITH_FUNCTION, ids=lambda command: command.name)
def test_the_source_tells_the_options_of_the_parser(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, and which must be given."""
    assert command.function is not None
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(load(command), fail_untyped=False)
    actions = {action.dest: action for action in parser._actions if hasattr(action, "_typehint")}
    actions = {name: action for name, action in actions.items() if not name.endswith(".help")}
    found = {option.name: option for option in options(command.function)}
    # A path is a text or a source, a server is none or one: of a union jsonargparse makes one option, the page lists the
    # keys of its class below it.
    source = set()
    for name, one in (("path", DataSource), ("server", ServerOptions)):
        keys = {key for key in found if key.startswith(f"{name}.")}
        assert keys in (set(), {f"{name}.{field.name}" for field in dataclasses.fields(one)})
        source |= keys
    assert sorted(found.keys() - source) == sorted(actions)
    assert {name for name, option in found.items() if option.default is None and name not in source} == {
        name for name, action in actions.items() if action.required
    }
    assert all(option.help for option in found.values())
    assert run(command.name, "--help") == 0
    out = capsys.readouterr().out
    assert all(f"  --{name} " in out for name in found if name != command.positional)
    assert command.positional is None or f"{command.name} RUN [RUN ...] [--KEY VALUE ...]" in out


def test_a_page_shows_ranges_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    run("filter", "--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "--low Share smallest pass rate that is kept. (a number of at least 0 and at most 1, default 0.2)" in out
    assert "--policy str the model whose pass rates are wanted. (required)" in out
    run("curate", "--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "Requests in flight at a time. (a whole number of at least 1, default 8)" in out


def test_fit_says_how_to_see_the_rest_and_what_a_configuration_sets(capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", "--config", "rlvr.yaml", "--help")
    out = capsys.readouterr().out
    assert all(way in out for way in ("--print_config", "--model.help CLASS", "--help-all"))
    assert "rlvr.yaml sets:" in out
    assert "  --model.algorithm GRPO\n" in out
    assert "  --data.batch_size 32\n" in out


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["fit", "--help-all"], "--trainer.max_steps MAX_STEPS"),
        (["fit", "--model.help", "SFTModule"], "--model.max_tokens MAX_TOKENS"),
        (["filter", "--help-all"], "--engine.help [CLASS_PATH_OR_NAME]"),
    ],
)
def test_the_ways_to_see_the_rest_work(arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0
    assert option in capsys.readouterr().out


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    calls = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _prism_pl; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{script('bash')}\n{calls}"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


START = ("python", "-m", "prism_pl")


def test_bash_completes_commands_configurations_and_options() -> None:
    assert complete(*START, "") == NAMES
    assert complete(*START, "c") == ["check-data", "curate", "completion"]
    assert complete(*START, "fit", "--config", "al") == ["align.yaml"]
    # bash splits a word at its equals sign.
    assert complete(*START, "fit", "--config", "=") == known_configs()
    assert complete(*START, "fit", "--config", "=", "qwen3_vl/s") == ["qwen3_vl/sft_4b.yaml"]
    assert complete(*START, "filter", "--sampling.") == [
        "--sampling.group_size", "--sampling.max_new_tokens", "--sampling.temperature", "--sampling.top_p",
    ]  # fmt: skip
    assert complete(*START, "fit", "--config", "rlvr.yaml", "--model.algorithm.d") == ["--model.algorithm.dual_clip"]
    assert {"--data.batch_size", "--data.max_prompt_tokens"} < set(complete(*START, "check-data", "--data."))
    assert complete(*START, "check-data", "--wr") == ["--write-clean"]


def test_bash_leaves_other_calls_and_values_alone() -> None:
    assert complete("python", "script.py", "--") == []
    assert complete("python", "-m", "pytest", "") == []
    assert complete(*START, "fit", "--run_dir", "ru") == []
    assert complete("python", "-m", "") == []


def test_the_command_prints_the_script_of_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", "--shell", "bash") == 0
    bash = capsys.readouterr().out
    assert bash == script("bash")
    assert bash.endswith("complete -o default -F _prism_pl python python3\n")
    assert run("completion", "--shell", "zsh") == 0
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first.endswith("&& bashcompinit")
    assert rest == bash
    assert run("completion", "--shell", "fish") == 2
    assert "shell: it is 'fish', and must be one of bash, zsh." in capsys.readouterr().err


def test_every_command_has_options_to_complete() -> None:
    for command in CATALOGUE:
        names = option_names(command)
        assert "--help" in names
        assert ("--config" in names) == (command.configurable or command.function is None)
        assert len(names) > 2
