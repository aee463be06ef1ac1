"""A million demonstrations on disk: time and memory until the first batch, the second start, and rows/s of the loader.

    python -m benchmarks.many_rows [rows]

Rows are LLaMA-Factory's ``messages`` with one of the embedded images each. Each figure comes from a process
of its own; memory is the peak of the resident set, memory-mapped pages included, beside that of the imports alone.
"""

import itertools
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import measured
from datamodules.order import OrderedBatches
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataSource, Mixture
from prism_pl.data.row_checks import Requirements, usable_mixture
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.runs.files import read_lines

BATCHES, BATCH_SIZE = 20, 64


def write(folder: Path, count: int) -> Path:
    """``count`` rows that differ in their question."""
    rows = read_lines(embedded_folder() / "sft.jsonl")
    path = folder / "many.jsonl"
    with path.open("w", encoding="utf-8") as out:
        for number, row in zip(range(count), itertools.cycle(rows), strict=False):
            turns = [dict(turn) for turn in row["messages"]]
            turns[-2]["content"] += f" ({number})"
            out.write(json.dumps({"messages": turns, "images": row["images"]}) + "\n")
    return path


def read(path: str) -> dict[str, float]:
    """Opens, checks, and loads some batches, as ``DemonstrationDataModule`` does."""
    figures = {"imports MiB": _peak()}
    start = time.perf_counter()
    data = Mixture.open(DataSource(path=path, image_root=EMBEDDED_NAME), "benchmark")
    figures["open s"] = time.perf_counter() - start
    start = time.perf_counter()
    encoder = PromptEncoder(EMBEDDED_NAME, 2048)
    parts = usable_mixture(data, encoder, Requirements(max_response_tokens=8192))
    figures["check s"] = time.perf_counter() - start
    start = time.perf_counter()
    batches = OrderedBatches(parts, BATCH_SIZE, seed=0)
    for rows in itertools.islice(batches, BATCHES):
        encoder.encode([data.prompt_row(row) for row in rows])
    figures["loader rows/s"] = BATCHES * BATCH_SIZE / (time.perf_counter() - start)
    return figures | {"peak MiB": _peak()}


def _peak() -> float:
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, children) / 1024


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = write(Path(scratch), count)
        print(f"{count:,} rows, {path.stat().st_size / 2**20:,.0f} MiB")
        for turn in ("first start", "second start"):
            figures = measured("benchmarks.many_rows", "read", str(path))
            print(f"{turn}: " + ", ".join(f"{name} {value:,.1f}" for name, value in figures.items()), flush=True)
            print(f"  checked {count / figures['check s']:,.0f} rows/s")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(read(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
