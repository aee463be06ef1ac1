"""The two fits that later stages start from. All worker processes share them: read them, never write into them."""

import json
from pathlib import Path

import pytest

from tests.modules.fits import fit, once, with_engine


@pytest.fixture(scope="session")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A few updates at a high rate are enough for the format not to matter below: only the plumbing is looked at.
    def make(folder: Path) -> None:
        fit(
            with_engine("sft.yaml", tmp_path_factory.mktemp("sft")), folder, "--trainer.max_steps", "4",
            "--data.batch_size", "16", "--data.num_workers", "0", "--checkpoint.every_n_train_steps", "2",
        )  # fmt: skip

    return once(tmp_path_factory, "sft", make)


@pytest.fixture(scope="session")
def warmup(tmp_path_factory: pytest.TempPathFactory, embedded: Path, sft: Path) -> Path:
    def make(folder: Path) -> None:
        # The policy is untrained, so its side of a pair would be malformed: the teacher's own text stands in for it.
        folder.mkdir()
        for name, rows in (("pairs.jsonl", 1500), ("pairs_heldout.jsonl", 16)):
            source = embedded / ("align.jsonl" if name == "pairs.jsonl" else "heldout.jsonl")
            teachers = [json.loads(line)["teacher"] for line in source.read_text().splitlines()[: rows + 1]]
            lines = [json.dumps({"row": i, "responses": [teachers[i]]}) for i in range(rows)]
            (folder / name).write_text("\n".join(lines) + "\n")
        fit(
            with_engine("warmup.yaml", tmp_path_factory.mktemp("warmup")), folder, "--trainer.max_steps", "3",
            "--data.num_heldout", "16", "--data.batch_size", "8",
            "--model.base", str(sft / "model"), "--data.policy", str(sft / "model"),
        )  # fmt: skip

    return once(tmp_path_factory, "warmup", make)
