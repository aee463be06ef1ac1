"""One row of a data file, whatever its columns are called. Every defect is named with its file and row.

turns     ``messages`` or ``conversations`` (LLaMA-Factory's sharegpt, or TRL's typed content), ``prompt`` (PRISM's RL and
          warm-up files), or a plain ``question``
images    ``images`` or ``image``: paths, bytes, or dictionaries with either; or the parts of typed content
answer    ``answer``, or ``reward_model.ground_truth``
options   ``options``: a list of texts, or texts by letter
teacher   ``teacher``, ``teacher_response``, or ``teacher_caption`` and ``teacher_cot``
policy    ``student_response``, or ``student_caption`` and ``student_cot`` (PRISM's warm-up pairs)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from prism_pl.data.conversation import IMAGE_MARK, SYSTEM_PROMPT, PromptRow
from prism_pl.data.images import image_file
from prism_pl.errors import UserError
from prism_pl.segments import parse_response

LearntResponse = Literal["turn", "teacher"]
"""Which response of a row is a demonstration: its last assistant turn, or its teacher's."""
_ROLES = {"human": "user", "gpt": "assistant", "system": "system", "user": "user", "assistant": "assistant"}


def parse_prompt(row: dict[str, Any], source: str, root: Path) -> PromptRow:
    """The prompt of a row: its turns before the last assistant turn. ``root`` is the folder of its images."""
    turns, inline = _turns(row, source)
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
        images=tuple(image_file(entry, root, source) for entry in entries),
        answer=_answer(row),
        options=_options(row, source),
        teacher=_response(row, "teacher"),
        student=_response(row, "student"),
    )


def parse_learnt_response(row: dict[str, Any], source: str, learnt: LearntResponse) -> str:
    """The response of a demonstration: its last assistant turn, or its teacher's response."""
    if learnt == "teacher":
        teacher = _response(row, "teacher")
        if not (teacher or "").strip():
            raise UserError(f"{source}: data.response is teacher, but the row has no `teacher` response.")
        return str(teacher)
    turns, _ = _turns(row, source)
    if not turns or turns[-1]["role"] != "assistant" or not turns[-1]["content"].strip():
        raise UserError(f"{source}: a demonstration must end with an assistant turn that holds text.")
    return turns[-1]["content"]


def _turns(row: dict[str, Any], source: str) -> tuple[list[dict[str, str]], list[Any]]:
    """The turns with ``<image>`` where an image stands, and the images that typed content brings along."""
    turns = row.get("messages") or row.get("conversations") or row.get("prompt")
    question = turns if isinstance(turns, str) else None if turns else row.get("question")
    if isinstance(question, str):
        marks = "" if IMAGE_MARK in question else IMAGE_MARK * len(_images(row))
        return [{"role": "user", "content": marks + question}], []
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{source}: no `messages`, `conversations`, `prompt` or `question` with a text.")
    result: list[dict[str, str]] = []
    images: list[Any] = []
    for turn in turns:
        turn = turn if isinstance(turn, dict) else {}
        role, content = turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")
        if isinstance(content, list):
            content, inline = _typed(content)
            images += inline
        if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
            raise UserError(f"{source}: a turn with the role {role!r} and no text content.")
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


def _options(row: dict[str, Any], source: str) -> tuple[str, ...]:
    options = row.get("options")
    if isinstance(options, dict):
        # Arrow gives every row all letters that the column has.
        options = [f"{letter}. {text}" for letter, text in options.items() if text is not None]
    if options is not None and (
        not isinstance(options, list) or not all(isinstance(o, str | int | float) for o in options)
    ):
        raise UserError(
            f"{source}: `options` is neither a list of texts nor texts by letter, but a {type(options).__name__}."
        )
    return tuple(map(str, options or ()))


def _response(row: dict[str, Any], role: str) -> str | None:
    whole = row.get(role) or row.get(f"{role}_response")
    if whole is None and row.get(f"{role}_caption") and row.get(f"{role}_cot"):
        whole = f"{row[f'{role}_caption']}\n{row[f'{role}_cot']}"
    return whole if isinstance(whole, str) else None


def check_needs(row: PromptRow, needs: Sequence[str]) -> None:
    """Raises UserError if the row lacks a column of ``needs`` (``answer``, ``teacher``, ``student``)."""
    if "answer" in needs and not (row.answer or "").strip():
        raise UserError(f"{row.source}: the row has no `answer`. Verifiable rewards need one; drop the row or add it.")
    for role in ("teacher", "student"):
        if role in needs and parse_response(getattr(row, role) or "") is None:
            raise UserError(
                f"{row.source}: the `{role}` response is missing or malformed. It needs the sections caption, think and "
                f"answer, once each, in this order, with nothing outside."
            )
