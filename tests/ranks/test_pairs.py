"""A warm-up samples its pairs on all ranks, goes on from what any of them has, and learns as one process does."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist
import yaml

from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.runs.files import read_lines
from prism_pl.types import Prompt, Response, SamplingOptions
from tests import launchers
from tests.modules.aligning import assert_same_metrics, metrics
from tests.modules.fits import fit
from tests.modules.scripted import ScriptedEngine
from tests.ranks.matrix import STEADY
from tests.responses import respond

ROWS = 12
KEPT = respond("kept", "Kept.", "1")


class TellingEngine(ScriptedEngine):
    """Appends what each rank is asked to a file of its own."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        rank = dist.get_rank() if dist.is_initialized() else 0
        with (Path(self.folder) / f"asked{rank}").open("a") as out:
            out.writelines(f"{prompt.source}\n" for prompt in prompts)
        return super().generate(prompts, seeds, sampling)


def asked(folder: Path, rank: int) -> list[int]:
    """The rows that a rank was asked, heldout rows as well."""
    return [int(line.rsplit(":", 1)[1]) - 1 for line in (folder / f"asked{rank}").read_text().splitlines()]


def test_all_ranks_sample_and_nothing_is_sampled_twice(tmp_path: Path, embedded: Path) -> None:
    for name in ("rows", "heldout"):
        source = embedded / ("align.jsonl" if name == "rows" else "heldout.jsonl")
        (tmp_path / f"{name}.jsonl").write_text("".join(source.read_text().splitlines(keepends=True)[:ROWS]))
    for name in ("one", "two"):
        content = yaml.safe_load(Path("configs/warmup.yaml").read_text().replace("runs/demo/base/model", EMBEDDED_NAME))
        paths = {
            key: {"path": str(tmp_path / f"{file}.jsonl"), "image_root": "embedded/digits"}
            for key, file in (("path", "rows"), ("heldout_path", "heldout"))
        }
        telling = {"class_path": "tests.ranks.test_pairs.TellingEngine", "init_args": {"folder": str(tmp_path / name)}}
        content["data"]["init_args"] |= paths | {"engine": telling, "num_heldout": 4, "batch_size": 4}
        content["model"]["init_args"] |= {"in_batch_first": 0}
        content["model"]["init_args"]["optimizer"]["init_args"] |= STEADY
        content["trainer"] |= {"val_check_interval": 2, "logger": False, "max_steps": 2}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / name).mkdir()
        # What a killed run on four ranks has left: row 7 is answered, and the kill has cut a line.
        left = json.dumps({"row": 7, "responses": [KEPT]})
        (tmp_path / name / "pairs.rank3.jsonl").write_text(f'{left}\n{{"row": 3, "resp')
    common = ["--model.policy.path=embedded/digits", "--model.discriminator_loss.r1_weight=0.1"]
    fit(tmp_path / "one.yaml", tmp_path / "one", *common)
    # Two nodes with one folder between them.
    node = ["--config", str(tmp_path / "two.yaml"), "--run_dir", str(tmp_path / "two"), *common]
    launchers.torchrun([node, node], tmp_path / "torchrun", dynamic=True).finish()
    # Rows 0 to 11 but for 7, dealt in turn, and the four held-out ones.
    assert asked(tmp_path / "two", 0) == [0, 2, 4, 6, 9, 11, 0, 2]
    assert asked(tmp_path / "two", 1) == [1, 3, 5, 8, 10, 1, 3]
    for file in ("pairs.jsonl", "pairs_heldout.jsonl"):
        assert (tmp_path / "one" / file).read_text() == (tmp_path / "two" / file).read_text()
    lines = read_lines(tmp_path / "two" / "pairs.jsonl")
    assert [line["row"] for line in lines] == list(range(ROWS))
    assert lines[7]["responses"] == [KEPT]
    assert not list((tmp_path / "two").glob("pairs*.rank*"))
    assert max(metrics(tmp_path / "one")) == 2
    assert_same_metrics(tmp_path / "one", tmp_path / "two")
