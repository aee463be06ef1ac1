"""filter and pairs are killed (-9) at random moments, and the same command then ends as if nothing had happened."""

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prism_pl.commands.filter import filter_prompts
from prism_pl.commands.pairs import make_pairs
from prism_pl.data.files import DataSource
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import TransformersEngine
from prism_pl.errors import UserError
from prism_pl.runs.files import read_lines
from prism_pl.types import SamplingOptions

ROWS = 160
SAMPLING = SamplingOptions(max_new_tokens=2, group_size=2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, embedded: Path) -> DataSource:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join((embedded / "align.jsonl").read_text().splitlines(keepends=True)[:ROWS]))
    return DataSource(path=str(path), image_root=EMBEDDED_NAME)


def filtered(source: DataSource, out: Path) -> None:
    filter_prompts(EMBEDDED_NAME, source, str(out), TransformersEngine("cpu"), SAMPLING, low=0, max_prompt_tokens=300)


def paired(source: DataSource, out: Path) -> None:
    with pytest.raises(UserError, match="no response is well-formed"):  # the start model is untrained
        make_pairs(EMBEDDED_NAME, source, str(out), TransformersEngine("cpu"), SAMPLING, 300)


@pytest.mark.parametrize(("command", "file"), [(filtered, "pass_rates.jsonl"), (paired, "responses.jsonl")])
def test_nothing_is_lost_and_nothing_comes_twice(
    command: Callable[[DataSource, Path], None], file: str, source: DataSource, tmp_path: Path
) -> None:
    begun = time.monotonic()
    command(source, tmp_path / "whole")
    duration = time.monotonic() - begun
    # Forked: the libraries are imported already.
    context = multiprocessing.get_context("fork")
    rng = random.Random()
    moments = [rng.uniform(0, duration) for _ in range(3)]
    for moment in moments:
        process = context.Process(target=command, args=(source, tmp_path / "killed"))
        process.start()
        process.join(moment)
        process.kill()
        process.join()
    command(source, tmp_path / "killed")
    whole, killed = (read_lines(tmp_path / name / file) for name in ("whole", "killed"))
    assert [line["row"] for line in whole] == list(range(ROWS))
    assert [line["row"] for line in killed] == list(range(ROWS)), moments
    assert [json.dumps(line) for line in killed] == [json.dumps(line) for line in whole], moments
