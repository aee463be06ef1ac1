"""Writes the embedded task to disk in the format of a user's own data: JSON lines with ``messages`` and ``images``."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from prism_pl.embedded.demonstrations import QUESTIONS, SYSTEM_PROMPT, curated_response, public_response
from prism_pl.embedded.digits import DigitPool, draw_scene, load_pools
from prism_pl.embedded.model import save_start_model
from prism_pl.runs.folders import atomic_folder, sole_builder

EMBEDDED_NAME = "embedded/digits"
# Part of the folder's name: raise it when the data or the model change, and old folders are left alone.
_VERSION = 1
_SEED = 0

# Rows per file. The public set is four times the curated one, so SFT drifts towards it.
NUM_PUBLIC = 8000
NUM_CURATED = 2000
NUM_ALIGN = 1500
NUM_RLVR = 2000
NUM_HELDOUT = 1000


def embedded_folder(root: Path = Path("runs/embedded")) -> Path:
    """The folder of the embedded task, built if it is not there yet: ``model/`` and four ``.jsonl`` files with images."""
    folder = root / f"digits-v{_VERSION}"
    if not folder.exists():
        # Two stages of a pipeline may come here at once.
        with sole_builder(folder):
            if not folder.exists():
                with atomic_folder(folder) as partial:
                    build(partial)
    return folder


def build(folder: Path) -> None:
    """Renders the images, composes the rows and saves the start model."""
    training, heldout = load_pools()
    rng = random.Random(_SEED)
    public = list(_rows(folder, "public", training, NUM_PUBLIC, rng))
    curated = list(_rows(folder, "curated", training, NUM_CURATED, rng))
    demonstrations = [_demonstration(row, row.pop("public")) for row in public]
    demonstrations += [_demonstration(row, row["teacher"]) for row in curated]
    _write(folder / "sft.jsonl", demonstrations)
    _write(folder / "align.jsonl", _prompts(folder, "align", training, NUM_ALIGN, rng))
    rlvr = _prompts(folder, "rlvr", training, NUM_RLVR, rng)
    _write(folder / "rlvr.jsonl", [{k: v for k, v in row.items() if k != "teacher"} for row in rlvr])
    _write(folder / "heldout.jsonl", _prompts(folder, "heldout", heldout, NUM_HELDOUT, rng))
    texts = [f"{message['role']}\n{message['content']}" for row in demonstrations for message in row["messages"]]
    save_start_model(folder / "model", texts, _SEED)


def _rows(folder: Path, name: str, pool: DigitPool, count: int, rng: random.Random) -> Iterator[dict]:
    (folder / "images" / name).mkdir(parents=True)
    for index in range(count):
        image, scene = draw_scene(pool, rng)
        path = f"images/{name}/{index:05d}.png"
        image.save(folder / path)
        kind = rng.choice(list(QUESTIONS))
        question = rng.choice(QUESTIONS[kind])
        teacher = curated_response(kind, scene, rng)
        yield {
            "messages": [
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": f"<image>{question}"},
            ],
            "images": [path],
            "answer": teacher.rsplit("<answer>\n", 1)[1].split("\n")[0],
            "teacher": teacher,
            "public": public_response(kind, scene, rng),
        }


def _demonstration(row: dict, response: str) -> dict:
    return {
        "messages": [*row["messages"], {"role": "assistant", "content": response}],
        "images": row["images"],
    }


def _prompts(folder: Path, name: str, pool: DigitPool, count: int, rng: random.Random) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "public"} for row in _rows(folder, name, pool, count, rng)]


def _write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
