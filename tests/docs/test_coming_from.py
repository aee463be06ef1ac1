"""The tables of docs/coming_from.md: our keys are the parser's, theirs are all that PRISM's scripts set, and TRL's own."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Row, key_rows
from tests.docs.programs import keys
from tests.docs.released_keys import ENVIRONMENT, RELEASED

PAGE = ROOT / "docs" / "coming_from.md"
ROWS = key_rows(PAGE)
OWNERS = sorted({row.owner for row in ROWS})
_KEY = re.compile(r"(model|data|trainer|checkpoint|[A-Z]\w+)\.[a-z_.]*[a-z]$")


def of(heading: str) -> list[Row]:
    return [row for row in ROWS if row.heading == heading]


@pytest.mark.parametrize("owner", OWNERS)
def test_our_keys_are_the_parser_s(owner: str) -> None:
    named = [(key, row) for row in ROWS if row.owner == owner for key in row.ours]
    named += [
        (key, row) for row in ROWS if row.owner == owner for key in re.findall(r"`([^`]+)`", row.note) if _KEY.match(key)
    ]
    assert named
    assert [(key, row.theirs) for key, row in named if key not in keys(owner)] == []


def test_a_key_that_is_none_is_not_found() -> None:
    assert "model.algorithm.clip_low" in keys("rlvr.yaml")
    assert "RolloutCallback.sampling.group_size" in keys("rlvr.yaml")
    assert "model.policy.lora.rank" in keys("sft.yaml")
    wrong = {"model.algorithm.clip", "model.policy.lora.r", "RolloutCallback.group_size", "model.advantage.alpha", "alpha"}
    assert not wrong & keys("rlvr.yaml")


def test_every_row_has_a_key_of_ours_or_says_why_not() -> None:
    assert OWNERS == ["align.yaml", "evaluate", "rlvr.yaml", "sft.yaml", "upcycle", "warmup.yaml"]
    assert [row for row in ROWS if not row.theirs or not (row.ours or row.note or "hdfs" in row.theirs[0])] == []


@pytest.mark.parametrize("heading", RELEASED)
def test_all_keys_of_the_released_scripts_are_there(heading: str) -> None:
    theirs = {name for row in of(heading) for name in row.theirs}
    assert theirs == set(RELEASED[heading].split())


def test_all_variables_of_the_released_scripts_are_there() -> None:
    section = PAGE.read_text().split("### Environment and launcher")[1].split("\n### ")[0]
    assert set(ENVIRONMENT.split()) <= set(re.findall(r"`([^`]+)`", section))


def test_trl_s_keys_are_its_own() -> None:
    known = set(_fields())
    for heading in ("SFTConfig", "GRPOConfig"):
        assert len(of(heading)) > 20
        assert [name for row in of(heading) for name in row.theirs if name not in known] == []


def _fields() -> Iterator[str]:
    """Of the classes that ``trl sft`` and ``trl grpo`` take, read from their files: an import would take seconds."""
    for package, files in {
        "trl": [
            "trainer/grpo_config",
            "trainer/sft_config",
            "trainer/base_config",
            "trainer/model_config",
            "scripts/utils",
        ],
        "transformers": ["training_args"],
    }.items():
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for file in files:
            tree = ast.parse((Path(spec.origin).parent / f"{file}.py").read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    yield node.target.id
