"""Writes the embedded task to disk in the format of a user's own data: JSON lines with ``messages`` and ``images``."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from prism_pl.embedded.demonstrations import (
    QUESTIONS,
    READING_QUESTION,
    SYSTEM_PROMPT,
    Scene,
    base_response,
    curated_response,
    exercise,
    public_response,
    solve,
)
from prism_pl.embedded.digits import DigitPool, draw_scene, load_pools
from prism_pl.embedded.model import save_start_model
from prism_pl.runs.files import only_writer
from prism_pl.runs.folders import atomic_folder

EMBEDDED_NAME = "embedded/digits"
# Part of the folder's name: raise it when the data or the model change, and old folders are left alone.
_VERSION = 5
_SEED = 0

# Rows per file. The base learns to see, to reckon and to do both in order.
NUM_READING = 12000
NUM_INSTRUCT = 12000
NUM_EXERCISES = 3000
# The public set is many times the curated one, so SFT drifts towards it.
NUM_PUBLIC = 7840
NUM_CURATED = 160
NUM_ALIGN = 1500
NUM_RLVR = 1200
NUM_HELDOUT = 1000
NUM_TEST = 500


def embedded_folder(root: Path = Path("runs/embedded")) -> Path:
    """The folder of the embedded task, built if it is not there yet: ``model/`` and six ``.jsonl`` files with images."""
    folder = root / f"digits-v{_VERSION}"
    if not folder.exists():
        # Two stages of a pipeline may come here at once.
        with only_writer(folder):
            if not folder.exists():
                with atomic_folder(folder) as partial:
                    build(partial)
    return folder


def build(folder: Path) -> None:
    """Renders the images, composes the rows and saves the start model."""
    pools = load_pools()
    training = pools.training
    rng = random.Random(_SEED)
    base = _base_rows(folder, training, rng)
    _write(folder / "base.jsonl", base)
    public = _questions(folder, "public", training, NUM_PUBLIC, rng)
    demonstrations = [_demonstrated(prompt, public_response(kind, scene, rng)) for prompt, kind, scene in public]
    curated = _questions(folder, "curated", training, NUM_CURATED, rng)
    demonstrations += [_demonstrated(prompt, curated_response(kind, scene, rng)) for prompt, kind, scene in curated]
    _write(folder / "sft.jsonl", demonstrations)
    align = _questions(folder, "align", training, NUM_ALIGN, rng)
    _write(folder / "align.jsonl", [_taught(*question, rng) for question in align])
    rlvr = _questions(folder, "rlvr", training, NUM_RLVR, rng)
    _write(folder / "rlvr.jsonl", [prompt | {"answer": solve(kind, scene.digits)[1]} for prompt, kind, scene in rlvr])
    for name, pool, count in (("heldout", pools.heldout, NUM_HELDOUT), ("test", pools.test, NUM_TEST)):
        asked = _questions(folder, name, pool, count, rng)
        _write(folder / f"{name}.jsonl", [_taught(*question, rng) for question in asked])
    texts = [f"{message['role']}\n{message['content']}" for row in base + demonstrations for message in row["messages"]]
    save_start_model(folder / "model", texts, _SEED)


def _base_rows(folder: Path, pool: DigitPool, rng: random.Random) -> list[dict]:
    """Readings, exercises without an image and questions answered step by step, shuffled."""
    rows = []
    for path, scene in _scenes(folder, "reading", pool, NUM_READING, rng):
        rows.append(_demonstrated(_prompt(READING_QUESTION, path), " ".join(map(str, scene.digits))))
    for _ in range(NUM_EXERCISES):
        question, worked = exercise(rng)
        rows.append(_demonstrated(_prompt(question), worked))
    for prompt, kind, scene in _questions(folder, "instruct", pool, NUM_INSTRUCT, rng):
        rows.append(_demonstrated(prompt, base_response(kind, scene, rng)))
    rng.shuffle(rows)
    return rows


def _questions(
    folder: Path, name: str, pool: DigitPool, count: int, rng: random.Random
) -> Iterator[tuple[dict, str, Scene]]:
    """``count`` prompts about new images, with the kind of question and what is true of the image."""
    for path, scene in _scenes(folder, name, pool, count, rng):
        kind = rng.choice(list(QUESTIONS))
        yield _prompt(rng.choice(QUESTIONS[kind]), path), kind, scene


def _scenes(folder: Path, name: str, pool: DigitPool, count: int, rng: random.Random) -> Iterator[tuple[str, Scene]]:
    (folder / "images" / name).mkdir(parents=True)
    for index in range(count):
        image, scene = draw_scene(pool, rng)
        path = f"images/{name}/{index:05d}.png"
        # Hardly compressed: small as they are, that would take longer than drawing them.
        image.save(folder / path, compress_level=1)
        yield path, scene


def _prompt(question: str, image: str | None = None) -> dict:
    mark = "<image>" if image else ""
    messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": f"{mark}{question}"}]
    return {"messages": messages, "images": [image] if image else []}


def _demonstrated(prompt: dict, response: str) -> dict:
    return prompt | {"messages": [*prompt["messages"], {"role": "assistant", "content": response}]}


def _taught(prompt: dict, kind: str, scene: Scene, rng: random.Random) -> dict:
    return prompt | {"answer": solve(kind, scene.digits)[1], "teacher": curated_response(kind, scene, rng)}


def _write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
