"""One row of a data file, whatever its columns are called. Every defect is named with its file and row.

turns     ``turns.py``
images    ``images`` or ``image``, or the parts of typed content (``images.py``)
answer    ``answers.py``
options   ``options``: a list of texts, or texts by letter
teacher   ``teacher``, ``teacher_response``, or ``teacher_caption`` and ``teacher_cot``
policy    ``student_response``, or ``student_caption`` and ``student_cot`` (PRISM's warm-up pairs)
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from prism_pl.data.answers import true_answers
from prism_pl.data.conversation import IMAGE_MARK, PromptRow
from prism_pl.data.images import image_file
from prism_pl.data.reading import ReadingOptions, check_text
from prism_pl.data.turns import Turn, find_turns, with_images
from prism_pl.errors import UserError
from prism_pl.segments import parse_response

LearntResponse = Literal["turn", "teacher"]
"""What a demonstration learns: the assistant's turns, or the row's teacher response."""


def parse_prompt(row: Mapping[str, Any], source: str, root: Path, reading: ReadingOptions) -> PromptRow:
    """The prompt of a row: its turns before the last assistant turn. ``root`` is the folder of its images."""
    own = reading.renamed(row, source)
    turns = find_turns(own, source, set(reading.ignore))
    if turns[-1].role == "assistant":
        turns = turns[:-1]
    return _prompt_row(own, turns, source, root, reading)


def parse_demonstration(
    row: Mapping[str, Any],
    source: str,
    root: Path,
    reading: ReadingOptions,
    learnt: LearntResponse = "turn",
    mask_history: bool = False,
) -> PromptRow:
    """The same with what is learnt: the last of the assistant's turns as ``response``, and the earlier ones in ``learnt``.

    A turn with ``loss: false`` is not learnt, nor is any but the last with ``mask_history``. What follows the last one that
    is learnt is left out: nothing depends on it.
    """
    if learnt == "teacher":
        prompt = parse_prompt(row, source, root, reading)
        if not (prompt.teacher or "").strip():
            raise UserError(f"{source}: data.response is teacher, but the row has no `teacher` response.")
        return replace(prompt, response=prompt.teacher)
    own = reading.renamed(row, source)
    turns = find_turns(own, source, set(reading.ignore))
    if turns[-1].role != "assistant":
        raise UserError(f"{source}: a demonstration must end with an assistant turn that holds text.")
    taught = [index for index, turn in enumerate(turns) if turn.role == "assistant" and turn.learnt]
    if mask_history:
        taught = [index for index in taught if index == len(turns) - 1]
    if not taught:
        which = "the last turn" if mask_history else "every turn of the assistant"
        raise UserError(f"{source}: nothing is learnt, as `loss` is false for {which}. Drop the row.")
    if any(IMAGE_MARK in turns[index].text for index in taught):
        raise UserError(f"{source}: a turn that is learnt holds an {IMAGE_MARK} mark; the assistant says text alone.")
    if any(index == 0 or turns[index - 1].role != "user" for index in taught):
        raise UserError(f"{source}: a turn that is learnt must follow a user turn.")
    last = taught[-1]
    prompt = _prompt_row(own, turns[:last], source, root, reading)
    # A system turn of ours, or an empty one that is left out, shifts the others.
    shift = len(prompt.messages) - last
    return replace(prompt, response=turns[last].text, learnt=tuple(index + shift for index in taught[:-1]))


def _prompt_row(own: Mapping[str, Any], turns: list[Turn], source: str, root: Path, reading: ReadingOptions) -> PromptRow:
    if not turns or turns[-1].role != "user":
        raise UserError(f"{source}: the prompt must end with a user turn.")
    turns, entries = with_images(turns, image_entries(own))
    messages = [turn.message for turn in turns]
    default_system = messages[0]["role"] != "system" and reading.system_prompt is not None
    if default_system:
        messages.insert(0, {"role": "system", "content": str(reading.system_prompt)})
    elif messages[0]["role"] == "system" and not messages[0]["content"].strip():
        del messages[0]
    answers = true_answers(own, source, set(reading.ignore))
    return PromptRow(
        source=source,
        messages=tuple(messages),
        images=tuple(image_file(entry, root, source) for entry in entries),
        answer=answers[0] if answers else None,
        also_right=answers[1:],
        options=_options(own, source),
        teacher=_response(own, "teacher", source),
        student=_response(own, "student", source),
        default_system=default_system,
    )


def image_entries(row: Mapping[str, Any]) -> list[Any]:
    """The images column of a row whose columns have our names."""
    entries = row.get("images", row.get("image", []))
    return entries if isinstance(entries, list) else [entries]


def _options(row: Mapping[str, Any], source: str) -> tuple[str, ...]:
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
    check_text("".join(map(str, options or ())), source, "`options`")
    return tuple(map(str, options or ()))


def _response(row: Mapping[str, Any], role: str, source: str) -> str | None:
    whole = row.get(role) or row.get(f"{role}_response")
    if whole is None and row.get(f"{role}_caption") and row.get(f"{role}_cot"):
        whole = f"{row[f'{role}_caption']}\n{row[f'{role}_cot']}"
    if not isinstance(whole, str):
        return None
    check_text(whole, source, f"the `{role}` response")
    return whole


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
