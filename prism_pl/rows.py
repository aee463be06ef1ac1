"""Data files to rows, whatever their columns are called. Every defect is named with its file and row.

turns     ``messages`` or ``conversations`` (LLaMA-Factory's sharegpt, or TRL's typed content), ``prompt`` (PRISM's RL
          files), or a plain ``question``
images    ``images`` or ``image``: paths, bytes, or dictionaries with either; or the parts of typed content
answer    ``answer``, or ``reward_model.ground_truth``
teacher   ``teacher``, ``teacher_response``, or ``teacher_caption`` and ``teacher_cot``
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, List, disable_progress_bars, load_dataset

from prism_pl.conversation import IMAGE_MARK, SYSTEM_PROMPT, PromptEncoder, PromptRow
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.errors import UserError
from prism_pl.images import image_file
from prism_pl.segments import parse_response

_log = logging.getLogger(__name__)
_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}
_LOADERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class DataFile:
    """A data file's rows, read lazily from a memory map; image paths are relative to the file's folder."""

    path: Path
    table: Dataset

    @classmethod
    def open(cls, name: str, key: str) -> "DataFile":
        """``name`` is a path, or ``embedded/digits/<file>``; ``key`` the configuration key, for errors."""
        if name.startswith(f"{EMBEDDED_NAME}/"):
            path = embedded_folder() / name.removeprefix(f"{EMBEDDED_NAME}/")
        else:
            path = Path(name)
        if not path.is_file():
            raise UserError(f"{key}: the data file {path} does not exist.")
        if path.suffix not in _LOADERS:
            raise UserError(f"{key}: {path} is no data file; known endings are {', '.join(_LOADERS)}.")
        disable_progress_bars()
        try:
            table = load_dataset(_LOADERS[path.suffix], data_files=str(path), split="train")
        except Exception as error:  # the library wraps every parser's own exception types
            raise UserError(f"{key}: {path} cannot be read as {path.suffix[1:]}: {error}") from None
        for column, feature in table.features.items():
            # Bytes and paths as they are; datasets would decode every image of a row that is only counted.
            if isinstance(feature, Image):
                table = table.cast_column(column, Image(decode=False))
            elif isinstance(feature, List) and isinstance(feature.feature, Image):
                table = table.cast_column(column, List(Image(decode=False)))
        if not len(table):
            raise UserError(f"{key}: {path} has no rows.")
        return cls(path, table)

    def __len__(self) -> int:
        return len(self.table)

    def source(self, index: int) -> str:
        """``file:row`` with rows counted from 1, as editors do."""
        return f"{self.path}:{index + 1}"

    def prompt_row(self, index: int) -> PromptRow:
        """The prompt of a row: its turns before the last assistant turn."""
        row, source = self.table[index], self.source(index)
        turns, inline = self._turns(row, index)
        entries = _images(row) or inline
        if turns and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        if not turns or turns[-1]["role"] != "user":
            raise UserError(f"{source}: the prompt must end with a user turn.")
        if turns[0]["role"] != "system":
            turns = [{"role": "system", "content": SYSTEM_PROMPT}, *turns]
        return PromptRow(
            source=source,
            messages=tuple(turns),
            images=tuple(image_file(entry, self.path.parent, source) for entry in entries),
            answer=_answer(row),
            teacher=_teacher(row),
        )

    def response(self, index: int) -> str:
        """The last assistant turn of a demonstration."""
        turns, _ = self._turns(self.table[index], index)
        if not turns or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
            raise UserError(f"{self.source(index)}: a demonstration must end with an assistant turn that holds text.")
        return turns[-1]["content"]

    def _turns(self, row: dict[str, Any], index: int) -> tuple[list[dict[str, str]], list[Any]]:
        """The turns with ``<image>`` where an image stands, and the images that typed content brings along."""
        turns = row.get("messages") or row.get("conversations") or row.get("prompt")
        question = turns if isinstance(turns, str) else None if turns else row.get("question")
        if isinstance(question, str):
            marks = "" if IMAGE_MARK in question else IMAGE_MARK * len(_images(row))
            return [{"role": "user", "content": marks + question}], []
        if not isinstance(turns, list) or not turns:
            raise UserError(f"{self.source(index)}: no `messages`, `conversations`, `prompt` or `question` with a text.")
        result: list[dict[str, str]] = []
        images: list[Any] = []
        for turn in turns:
            turn = turn if isinstance(turn, dict) else {}
            role, content = turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")
            if isinstance(content, list):
                content, inline = _typed(content)
                images += inline
            if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
                raise UserError(f"{self.source(index)}: a turn with the role {role!r} and no text content.")
            result.append({"role": _ROLES[role], "content": content})
        return result, images


def _typed(parts: list[Any]) -> tuple[str | None, list[Any]]:
    """Typed content as one text, and the images that are in it rather than in a column of their own."""
    texts: list[str] = []
    images: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image", "image_url"):
            texts.append(IMAGE_MARK)
            entry = part.get("image") or part.get("path") or part.get("url") or part.get("image_url")
            images += [entry] if entry else []
        else:
            return None, []
    return "".join(texts), images


def _images(row: dict[str, Any]) -> list[Any]:
    entries = row.get("images") or row.get("image") or []
    return entries if isinstance(entries, list) else [entries]


def _answer(row: dict[str, Any]) -> str | None:
    answer = row.get("answer")
    if answer is None and isinstance(row.get("reward_model"), dict):
        answer = row["reward_model"].get("ground_truth")
    return None if answer is None else str(answer)


def _teacher(row: dict[str, Any]) -> str | None:
    whole = row.get("teacher") or row.get("teacher_response")
    if whole is None and row.get("teacher_caption") and row.get("teacher_cot"):
        whole = f"{row['teacher_caption']}\n{row['teacher_cot']}"
    return whole if isinstance(whole, str) else None


def check_needs(row: PromptRow, needs: Sequence[str]) -> None:
    """Raises UserError if the row lacks a column of ``needs`` (``answer``, ``teacher``)."""
    if "answer" in needs and not (row.answer or "").strip():
        raise UserError(f"{row.source}: the row has no `answer`. Verifiable rewards need one; drop the row or add it.")
    if "teacher" in needs and parse_response(row.teacher or "") is None:
        raise UserError(
            f"{row.source}: the `teacher` response is missing or malformed. It needs the sections caption, think and "
            f"answer, once each, in this order, with nothing outside."
        )


def usable_rows(
    data: DataFile,
    encoder: PromptEncoder,
    *,
    needs: Sequence[str] = (),
    max_response_tokens: int | None = None,
    drop_too_long: bool = False,
) -> list[int]:
    """Indices of the rows to use, after checking all of them.

    ``needs`` names required columns (``answer``, ``teacher``); with ``max_response_tokens`` the last turn is measured too.
    A row over a length limit is an error, or is dropped and counted with ``drop_too_long``; any other defect is an error.
    """
    kept, dropped = [], []
    rows = [data.prompt_row(index) for index in range(len(data))]
    for row in rows:
        check_needs(row, needs)
    prompt_tokens = encoder.count_tokens(rows)
    response_tokens = [0] * len(rows)
    if max_response_tokens is not None:
        texts = [data.response(index) for index in range(len(rows))]
        response_tokens = encoder.count_response_tokens(texts)
    for index, (row, prompt, response) in enumerate(zip(rows, prompt_tokens, response_tokens, strict=True)):
        problem = None
        if prompt > encoder.max_prompt_tokens:
            problem = f"the prompt has {prompt} tokens, data.max_prompt_tokens is {encoder.max_prompt_tokens}"
        elif max_response_tokens is not None and response > max_response_tokens:
            problem = f"the response has {response} tokens, data.max_response_tokens is {max_response_tokens}"
        if problem is None:
            kept.append(index)
        elif drop_too_long:
            dropped.append(f"{row.source}: {problem}")
        else:
            raise UserError(f"{row.source}: {problem}. Raise the limit, or drop such rows with data.drop_too_long: true.")
    if dropped:
        _log.warning("%d of %d rows of %s dropped as too long; first: %s", len(dropped), len(rows), data.path, dropped[0])
    if not kept:
        raise UserError(f"{data.path}: no row is left after dropping the {len(dropped)} that are too long.")
    return kept
