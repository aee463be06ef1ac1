"""Every command of README.md and docs/ is one that the program, the Makefile or the tests would understand."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from prism_pl.errors import UserError
from tests.docs.not_run import NOT_RUN, reason
from tests.docs.pages import PAGES, ROOT, Command, blocks, commands
from tests.docs.programs import check, parse_stage
from tests.docs.scratch import write_configurations

COMMANDS = commands()
_OTHERS_FILE = "lmms_eval.py"
"""Installed into a folder of its own."""


def look_at(command: Command) -> None:
    """Fails where the command could not even start."""
    words = command.words
    if "prism_pl" in words and words[words.index("prism_pl") - 1] == "-m":
        # Behind python, or a launcher.
        assert words[0] == "python" or reason(command.text), command
        check(words[words.index("prism_pl") + 1 :])
    elif words[0] == "python":
        file = words[1] if words[1] != "-m" else f"{words[2].replace('.', '/')}.py"
        assert (ROOT / file).is_file() or file == _OTHERS_FILE, command
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
    elif words[0] == "pytest":
        _look_at_pytest(words)
    else:
        assert reason(command.text), f"{command}: neither a parser nor tests/docs/not_run.py knows it"


def _look_at_pytest(words: list[str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    markers = {marker.partition(":")[0] for marker in declared}
    after = words[words.index("-m") + 1] if "-m" in words else ""
    assert set(re.findall(r"\w+", after)) - {"or", "not", "and"} <= markers
    paths = [word for word in words if word.startswith("tests/")]
    assert all((ROOT / path).exists() for path in paths), words


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_command_is_understood(command: Command) -> None:
    look_at(command)


def test_what_is_not_run_stands_on_a_page() -> None:
    assert [entry for entry in NOT_RUN if not any(entry.holds(command.text) for command in COMMANDS)] == []


def test_the_yaml_of_the_stages_is_of_their_keys(tmp_path: Path) -> None:
    config, seen = "", []
    for _, lines in blocks((ROOT / "docs" / "stages.md").read_text()):
        text = "\n".join(lines)
        if (named := re.match(r"python -m prism_pl fit --config (\S+)", text)) is not None:
            config = named[1]
        elif text.startswith("model:"):
            (tmp_path / "own.yaml").write_text(text)
            parsed = parse_stage(["--config", config, "--config", str(tmp_path / "own.yaml")])
            written = yaml.safe_load(text)["data"]["init_args"]["path"]
            assert parsed.data.init_args.path == written
            seen.append(config)
    assert seen == ["sft.yaml", "warmup.yaml", "align.yaml", "rlvr.yaml"]


def test_the_small_configurations_of_docs_check_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_configurations(tmp_path)
    monkeypatch.chdir(tmp_path)
    commands = {"demo": "pipeline", "claim": "study", "eval": "evaluate"}
    for file in sorted(tmp_path.iterdir()):
        name = "fit" if "trainer" in yaml.safe_load(file.read_text()) else commands.get(file.stem, file.stem)
        check([name, "--config", file.name])


PAGE = """
Text with `make demo`, a bare `make`, and `pytest -n 0
    tests/docs` over two lines.

    python -m prism_pl fit --config rlvr.yaml \\
        --model.algorithm=NAME          # a comment
    KEY=... python -m prism_pl curate

    python: this is YAML

```
git clone HERE
```
    make nothing, as no empty line comes before
"""


def test_commands_are_found_in_blocks_and_in_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr("tests.docs.pages.PAGES", [page])
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    assert [(command.line, command.words) for command in commands()] == [
        (5, ["python", "-m", "prism_pl", "fit", "--config", "rlvr.yaml", "--model.algorithm=DAPO"]),
        (7, ["python", "-m", "prism_pl", "curate"]),
        (12, ["git", "clone", "HERE"]),
        (2, ["make", "demo"]),
        (2, ["pytest", "-n", "0", "tests/docs"]),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "python -m prism_pl check-data --config rlvr.yaml --data.batchsize 3",
        "python -m prism_pl filter --config filter.yaml --lwo 0.2",
        "python -m prism_pl plan --config rlvr.yaml --gpu-memroy 80GB",
        "python -m prism_pl trian",
        "torchrun --nproc_per_node 2 -m prism_pl fit --config no.yaml",
    ],
)
def test_a_mistake_on_a_page_is_found(text: str) -> None:
    with pytest.raises(UserError):
        look_at(Command("a.md", 1, text))


@pytest.mark.parametrize(
    "text", ["make dmeo", "python -m benchmarks.nothing", "pytest tests/no", "pytest -m rnaks tests/ranks", "hf upload x"]
)
def test_a_target_that_is_not_there_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        look_at(Command("a.md", 1, text))


def test_pages_are_found() -> None:
    names = {page.name for page in PAGES}
    assert {"README.md", "quickstart.md", "coming_from.md"} <= names
    assert len(COMMANDS) > 60
