"""The difficulty filter on the embedded task with a function as the reward: pass rates, resumption, what is kept."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from prism_pl.commands.filter import filter_prompts, histogram
from prism_pl.data.files import DataFile, DataSource
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import TransformersEngine
from prism_pl.errors import UserError
from prism_pl.rewards import PythonReward
from prism_pl.runs.files import read_lines, stage_identity
from prism_pl.runs.handover import handed_over
from prism_pl.types import SamplingOptions

# The model is untrained, so the score is a function of the row: 0 of 2, 1 of 2 and 2 of 2 right, in turn.
REWARD = """
seen = {}

def score(inputs):
    scores = []
    for i in inputs:
        row = int(i["source"].rpartition(":")[2])
        seen[row] = seen.get(row, 0) + 1
        scores.append(float(seen[row] <= row % 3))
    return scores
"""


@pytest.fixture
def small(tmp_path: Path, embedded: Path) -> Path:
    lines = (embedded / "rlvr.jsonl").read_text().splitlines(keepends=True)[:12]
    (tmp_path / "small.jsonl").write_text("".join(lines))
    (tmp_path / "reward.py").write_text(REWARD)
    return tmp_path


def source(folder: Path, name: str) -> DataSource:
    return DataSource(path=str(folder / name), image_root=EMBEDDED_NAME)


def run(folder: Path, **options: object) -> None:
    settings: dict = {"low": 0.2, "high": 0.8, "max_prompt_tokens": 256} | options
    filter_prompts(
        policy=EMBEDDED_NAME, path=source(folder, "small.jsonl"), out=str(folder / "out"), engine=TransformersEngine("cpu"),
        sampling=SamplingOptions(max_new_tokens=4, group_size=2),
        reward=PythonReward(function=f"{folder / 'reward.py'}:score"), **settings,
    )  # fmt: skip


def test_pass_rates_and_kept_rows(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(small)
    # Rows are counted from 1 in sources: row 1 scores 1 of 2, row 2 scores 2 of 2, row 3 none, and so on.
    rates = [line["pass_rate"] for line in read_lines(small / "out" / "pass_rates.jsonl")]
    assert rates == [0.5, 1.0, 0.0] * 4
    everything = load_dataset("parquet", data_files=str(small / "out" / "all.parquet"), split="train")
    assert everything["pass_rate"][:] == rates
    kept = DataFile.open(source(small, "out/kept.parquet"), "test")
    assert kept.table["pass_rate"][:] == [0.5] * 4
    # Image paths stay, and are read from the same root.
    before = DataFile.open(source(small, "small.jsonl"), "test")
    for index in range(4):
        new, old = kept.prompt_row(index), before.prompt_row(3 * index)
        assert new.messages == old.messages
        assert not Path(kept.table[index]["images"][0]).is_absolute()
        assert [i.path.resolve() for i in new.images if i.path] == [i.path.resolve() for i in old.images if i.path]
    out = capsys.readouterr().out
    assert "     0.50        4  ########################################  kept" in out
    assert "kept 4 of 12 prompts" in out
    # A later stage of a pipeline gets the kept prompts with the folder of their images.
    assert json.loads(handed_over(small / "out")) == {
        "path": str(small / "out" / "kept.parquet"), "image_root": str(before.root),
    }  # fmt: skip


def test_a_cut_run_goes_on_and_a_changed_one_is_refused(small: Path) -> None:
    run(small)
    file = small / "out" / "pass_rates.jsonl"
    whole = file.read_text()
    file.write_text("".join(line + "\n" for line in whole.splitlines()[:5]) + whole.splitlines()[5][:9])
    (small / "out" / "kept.parquet").unlink()
    before = stage_identity(small / "out")
    run(small)
    assert file.read_text() == whole
    assert (small / "out" / "kept.parquet").exists()
    # What is made from the kept prompts is no longer up to date.
    assert stage_identity(small / "out") not in (before, None)
    # Another range needs no new samples, another seed does.
    run(small, low=0.0, high=0.4)
    assert DataFile.open(str(small / "out" / "kept.parquet"), "test").table["pass_rate"][:] == [0.0] * 4
    with pytest.raises(UserError, match="holds pass rates with seed 0, not 1"):
        run(small, seed=1)
    with pytest.raises(UserError, match="0 <= low <= high <= 1"):
        run(small, low=0.9)


def test_where_nothing_is_kept_the_pass_rates_are_told_and_the_stage_is_not_finished(small: Path) -> None:
    run(small)
    # A third of the prompts each at 0, 1/2 and 1, so two thirds are below 0.6 and a third is above 0.9.
    with pytest.raises(
        UserError, match=r"of 12 prompts .* 0.6 to 0.9 under \S+. There are 4 at 0.00, 4 at 0.50, 4 at 1.00."
    ):
        run(small, low=0.6, high=0.9)
    assert stage_identity(small / "out") is None
    with pytest.raises(UserError, match="Most are too hard"):
        run(small, low=0.6, high=0.9)
    with pytest.raises(UserError, match="Most are too easy"):
        run(small, low=0.1, high=0.4)
    run(small)
    assert stage_identity(small / "out") is not None


def test_histogram_bins_many_samples() -> None:
    lines = histogram([0.0, 0.013, 1.0], 64, 0.2, 0.8).splitlines()
    assert len(lines) == 22
    assert lines[1] == "     0.00        2  ########################################"
    assert lines[5] == "     0.20        0    kept"
