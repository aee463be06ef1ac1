"""Mutated rows of every schema: never a crash, never a wrong "good", and the data module uses what check-data says.

20,000 of them: pytest -n 0 tests/prism_pl/data/test_mutated_rows.py --hypothesis-profile thorough
"""

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from datamodules import DemonstrationDataModule, PromptDataModule
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.data.reading import ReadingOptions
from prism_pl.data.row_checks import Requirements, check_rows
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from tests.schemas import DEMONSTRATIONS, PATH, PROMPTS, TAUGHT

ROWS = 20 * settings.default.max_examples
COLUMNS = {
    "messages", "conversations", "prompt", "question", "problem", "query", "instruction", "input", "history", "system",
    "completion", "response", "output",
}  # fmt: skip
TEXT_PLACES = (
    [], ["content"], ["value"], ["content", "text"], ["content", "value"], ["value", "text"], ["value", "value"],
)  # fmt: skip
"""Below a column: its text, a turn's, and that of a typed part."""
NEVER = {"video", "videos", "audio", "audios", "tools", "rejected", "chosen", "rejected_response", "objects", "tool_calls"}
NAMES = sorted(
    {*COLUMNS, *NEVER, "role", "from", "content", "value", "text", "images", "image", "image_url", "url", "source", "type",
     "bytes", "path", "answer", "solution", "ground_truth", "reward_model", "target", "label", "kto_tag", "loss", "weight",
     "options", "teacher", "teacher_response", "teacher_caption", "teacher_cot", "image_path", "max_pixels", "other"}
)  # fmt: skip
TEXTS = [
    "", " ", "<image>", "<image><image>", "<video>", "<audio>", "<img>a.png</img>", PATH, "../a.png", ".", "/dev/zero",
    "http://a/b.png", "s3://a", "data:", "data:image/png;base64,", "data:image/png;base64,AAAA", "data:,x", "file://",
    "user", "assistant", "system", "human", "gpt", "tool", "function", "observation", "text", "image", "image_url", "video",
    "audio",
    "tool_use", TAUGHT, "<answer>", "<answer></answer>", "\\boxed{", "\\boxed{}", "<|image_pad|>", "<|im_end|>", "[]", "{}",
    "null", "false", "\x00", "\ud800", "\U0010ffff\u200b\u202e", "e\u0301\u0301", "3" * 5000, "word " * 20_000, "\n" * 300,
]  # fmt: skip
NUMBERS = [True, False, 0, 1, -1, 2**63, 10**30, 0.0, 1.0, 0.5, float("nan"), float("inf")]


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


OPERATIONS = ("replace", "delete", "rename", "add", "double", "wrap", "unwrap", "empty")
ODD = [b"", b"ab", [{}] * 300, nested(300)]


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that JSON, Arrow or a user may put somewhere."""
    kind = rng.random()
    if kind < 0.15:
        return None
    if kind < 0.5:
        return rng.choice(TEXTS)
    if kind < 0.65:
        return rng.choice(NUMBERS)
    if kind < 0.7 or depth > 2:
        return copy.deepcopy(rng.choice(ODD))
    inner = [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return inner if kind < 0.85 else {rng.choice(NAMES): part for part in inner}


def reading(rng: random.Random) -> ReadingOptions:
    if rng.random() < 0.5:
        return ReadingOptions()
    ignore = rng.sample(["tools", "videos", "loss", "tool", "label", "history", "system"], rng.randint(0, 3))
    columns = rng.choice([{}, {"answer": "other"}, {"question": "value"}, {"messages": "prompt"}, {"images": "image_path"}])
    return ReadingOptions(ignore=ignore, columns=columns, system_prompt=rng.choice([None, "", "Short."]))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Every container with one of its keys, and the path to it."""
    if len(path) > 8:
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key, (*path, key)
        yield from places(value[key], (*path, key))


def mutated(row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The row after one to three changes, anywhere in it."""
    row = copy.deepcopy(row)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name, new, found = rng.choice(NAMES), value(rng), list(places(row))
        owner, key, _ = rng.choice(found) if found else (row, name, ())
        operation = rng.choice(OPERATIONS) if found else "add"
        if operation == "add":
            (owner if isinstance(owner, dict) else row)[name] = new
        elif operation == "delete":
            del owner[key]
        elif operation == "rename" and isinstance(owner, dict):
            owner[name] = owner.pop(key)
        elif operation == "double" and isinstance(owner, list):
            owner.insert(key, copy.deepcopy(owner[key]))
        elif operation == "wrap":
            owner[key] = rng.choice([[owner[key]], {name: owner[key]}])
        elif operation == "unwrap" and isinstance(owner[key], list) and owner[key]:
            owner[key] = owner[key][0]
        elif operation == "empty" and owner[key] is not None:
            owner[key] = type(owner[key])()
        else:
            owner[key] = new
    return row


def leaves(row: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    return ((path, owner[key]) for owner, key, path in places(row) if not isinstance(owner[key], dict | list))


class Bases(list[dict[str, Any]]):
    """The rows of all schemas; a failure need not print them."""

    def __repr__(self) -> str:
        return "bases"


@pytest.fixture(scope="module")
def bases(embedded: Path) -> Bases:
    image = (embedded / PATH).read_bytes()
    return Bases(schema.make(image) for schema in (DEMONSTRATIONS | PROMPTS).values())


@pytest.fixture(scope="module")
def roomy(embedded: Path) -> PromptEncoder:
    return PromptEncoder(EMBEDDED_NAME, 4096)


@given(seed=st.integers(0, 2**48))
@settings(max_examples=ROWS, suppress_health_check=list(HealthCheck))
def test_no_mutated_row_crashes_or_passes_wrongly(seed: int, bases: Bases, embedded: Path, roomy: PromptEncoder) -> None:
    rng = random.Random(seed)
    row = mutated(rng.choice(bases), rng)
    note(f"{row!r:.3000}")
    data = DataFile("data.jsonl", embedded, [row], reading(rng))  # type: ignore[arg-type] # a list serves as the table
    as_prompt(data, roomy)
    as_demonstration(data, roomy)


def as_prompt(data: DataFile, encoder: PromptEncoder) -> None:
    requirements = Requirements(("answer",))
    if not is_good(data, encoder, requirements):
        return
    module = PromptDataModule("data.jsonl", EMBEDDED_NAME, 1, ["answer"], max_prompt_tokens=4096)
    module.data, module.encoder = data, encoder
    (prompt,) = module.encode([0]).prompts
    (checked,) = check_rows(data, [0], encoder, requirements, decode=True)
    assert (len(prompt.input_ids), len(prompt.images)) == (checked.prompt_tokens, checked.images)
    assert all(answer.strip() for answer in prompt.answers)
    # The answer is one that the row holds as a whole, or the end of a worked solution.
    assert not any("{'" in answer for answer in prompt.answers)
    assert data.table[0].get("label") is not False or "label" in data.reading.ignore


def as_demonstration(data: DataFile, encoder: PromptEncoder) -> None:
    requirements = Requirements(max_response_tokens=4096)
    if not is_good(data, encoder, requirements):
        return
    module = DemonstrationDataModule("data.jsonl", EMBEDDED_NAME, 1, max_prompt_tokens=4096)
    module.data, module.encoder = data, encoder
    (item,) = module.encode([0])
    (checked,) = check_rows(data, [0], encoder, requirements, decode=True)
    assert (len(item.prompt.input_ids), len(item.prompt.images)) == (checked.prompt_tokens, checked.images)
    assert len(item.response_ids) == checked.response_tokens > 1
    nothing_is_lost(data)


def is_good(data: DataFile, encoder: PromptEncoder, requirements: Requirements) -> bool:
    (checked,) = check_rows(data, [0], encoder, requirements, decode=True)
    if checked.defect is not None:
        row = data.table[0]
        assert len(checked.defect) < 1500
        assert not any(
            isinstance(leaf, str) and len(leaf) > 250 and leaf[:250] in checked.defect for _, leaf in leaves(row)
        )
    return checked.defect is None and checked.too_long(encoder, requirements) is None


def nothing_is_lost(data: DataFile) -> None:
    """Every text in a place that means a turn is in the prompt or learnt, unless it is ignored or renamed."""
    row, read = data.table[0], data.demonstration(0)
    said = bare(" ".join([*(turn["content"] for turn in read.messages), read.response or ""]))
    gone = set(data.reading.ignore) | set(data.reading.columns) | set(data.reading.columns.values())
    for path, leaf in leaves(row):
        names = [part for part in path if isinstance(part, str)]
        if set(names) & gone or not isinstance(leaf, str) or not leaf.strip() or leaf in ("[]", "{}", "null"):
            continue
        assert names[0] not in NEVER, (path, leaf)
        is_image = leaf.endswith(".png")  # in the ``value`` of a typed part
        is_turn = names[0] in COLUMNS and not is_image and names[1:] in TEXT_PLACES
        if is_turn and len(path) < 6 and not after_the_last(row, path, read.response or ""):
            assert bare(leaf) in said, (path, leaf)


def after_the_last(row: dict[str, Any], path: tuple[Any, ...], response: str) -> bool:
    """Whether a turn follows the last one that is learnt, on which nothing depends."""
    turns = row[path[0]]
    if len(path) < 2 or not isinstance(turns, list) or not isinstance(path[1], int):
        return False
    texts = [" ".join(leaf for _, leaf in leaves({"": turn}) if isinstance(leaf, str)) for turn in turns[path[1] :]]
    return all(bare(response) not in bare(text) for text in texts)


def bare(text: str) -> str:
    return " ".join(text.replace("<image>", " ").split())


def test_the_bases_are_good_as_they_are(bases: Bases, embedded: Path, roomy: PromptEncoder) -> None:
    """Otherwise the property above would hold of nothing."""
    for row in bases:
        data = DataFile("data.jsonl", embedded, [row])  # type: ignore[arg-type]
        needs = Requirements(("answer",)) if {"answer", "solution", "reward_model"} & row.keys() else None
        assert is_good(data, roomy, needs or Requirements(max_response_tokens=4096))
    with pytest.raises(UserError, match="tools"):
        DataFile("data.jsonl", embedded, [bases[0] | {"tools": "[{}]"}]).demonstration(0)  # type: ignore[arg-type]
