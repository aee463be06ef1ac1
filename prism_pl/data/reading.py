"""What the columns of a data source mean, and what of a row may never be dropped in silence.

Columns are renamed first. ``ignore`` then takes out what it names, as if the row did not have it. What is left and matters,
but is not read, is an error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from prism_pl.errors import UserError, nearest, shown

# The paper's system prompt (arXiv 2604.28123, appendix; same text in SFT, alignment, RLVR and evaluation).
SYSTEM_PROMPT = """\
You are a helpful scientific assistant.
Answer the user's question based on the image provided.

Your output must strictly follow this XML format:

<caption>
- [Briefly describe the image style, key objects, and text using bullet points]
</caption>
<think>
[Reason step-by-step to solve the problem]
</think>
<answer>
[Final answer ONLY]
</answer>
"""

DIALOGUES = ("messages", "conversations")
"""Lists of turns."""
QUESTIONS = ("prompt", "question", "problem", "query", "instruction")
"""The user's text; ``prompt`` may be a list of turns."""
RESPONSES = ("completion", "response", "output")
"""The assistant's turn, beside one of ``QUESTIONS``."""
TURNS = (*DIALOGUES, *QUESTIONS, *RESPONSES, "input", "history", "system")
"""All columns that turns are read from."""
READ = (
    *TURNS, "images", "image", "answer", "solution", "ground_truth",
    "options", "teacher", "teacher_response", "teacher_caption", "teacher_cot", "student", "student_response",
    "student_caption", "student_cot",
)  # fmt: skip
"""Every column that is read."""
Ignorable = Literal[
    "video", "videos", "audio", "audios", "tools", "functions", "tool_calls", "function_call", "tool_call", "tool",
    "function", "observation", "tool_response", "tool_use", "tool_result", "thinking", "reasoning_content", "document",
    "file", "loss", "label", "kto_tag", "chosen", "rejected", "rejected_response", "rejected_messages", "rejected_images",
    "objects", "img", "image_path", "image_paths", "image_url", "image_urls", "min_pixels", "max_pixels", "resized_height",
    "resized_width", "messages", "conversations", "prompt", "question", "problem", "query", "instruction", "completion",
    "response", "output", "input", "history", "system", "answer", "solution", "ground_truth", "options",
]  # fmt: skip
"""What ``ignore`` may name: columns, keys of turns, roles, and kinds and keys of typed parts."""
_UNREAD: dict[str, str] = {
    "video": "a video", "videos": "videos", "audio": "audio", "audios": "audio", "tools": "tools", "functions": "tools",
    "tool_calls": "tool calls", "function_call": "a tool call", "chosen": "a preferred response",
    "rejected": "a rejected response", "rejected_response": "a rejected response",
    "rejected_messages": "a rejected response", "rejected_images": "a rejected response", "objects": "places in an image",
}  # fmt: skip
_UNREAD_IMAGES = ("img", "image_path", "image_paths", "image_url", "image_urls")
_LABELS = ("label", "kto_tag")
_MOST_COLUMNS = 30
_MOST_NESTED = 16


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How rows are read."""

    columns: dict[str, str] = field(default_factory=dict)
    """Which column of the file is read as one of ours: ``{answer: solution, question: extra_info.question}``."""
    ignore: list[Ignorable] = field(default_factory=list)
    """What may be left out of a row although it matters, such as ``[tools, videos]``; anything else that is not read is an
    error."""
    system_prompt: str | None = SYSTEM_PROMPT
    """The system turn of rows that bring none, PRISM's by default; null is none."""

    def check(self, key: str) -> None:
        """Raises UserError for names that say nothing; ``key`` is the source's configuration key."""
        for name, theirs in self.columns.items():
            if name not in READ:
                raise UserError(
                    f"{key}.columns: no column is read as `{name}`.{nearest(name, READ)} The keys are {', '.join(READ)}."
                )
            if not isinstance(theirs, str) or not theirs:
                raise UserError(f"{key}.columns.{name}: the name of a column of the file is needed, it is {shown(theirs)}.")
            if name in self.ignore:
                raise UserError(f"{key}.columns, {key}.ignore: both name `{name}`; a column is either read or ignored.")
        if len(set(self.columns.values())) < len(self.columns):
            raise UserError(f"{key}.columns: one column of the file is named twice.")
        for name in self.ignore:
            if name not in get_args(Ignorable):
                raise UserError(f"{key}.ignore: `{name}` is nothing to ignore.{nearest(name, get_args(Ignorable))}")

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the defaults."""
        defaults = ReadingOptions()
        names = ("columns", "ignore", "system_prompt")
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(defaults, name)}

    def renamed(self, row: Mapping[str, Any], source: str) -> dict[str, Any]:
        """The row's columns by our names, without those to ignore. Raises UserError for what matters and is not read."""
        taken = set(self.columns.values())
        own = {name: value for name, value in row.items() if name not in taken and name not in self.columns}
        own |= {name: look_up(row, theirs) for name, theirs in self.columns.items()}
        own = {name: value for name, value in own.items() if name not in self.ignore and not is_empty(value)}
        for name, what in _UNREAD.items():
            # LLaMA-Factory holds tools as a text of JSON.
            if name in own and own[name] not in ("[]", "{}", "null"):
                raise unread(source, f"`{name}`, {what},", name)
        for label in _LABELS:
            if own.get(label) is False:
                raise unread(source, f"`{label}: false`, the mark of a response that is not to be learnt,", label)
        elsewhere = [name for name in _UNREAD_IMAGES if name in own]
        if elsewhere and not {"images", "image"} & own.keys():
            raise UserError(
                f"{source}: the row has no `images`, but `{elsewhere[0]}`. If that is its image, say "
                f"`columns: {{images: {elsewhere[0]}}}` of the data source; if not, `ignore: [{elsewhere[0]}]`."
            )
        return own

    def check_columns(self, names: Sequence[str], key: str) -> None:
        """Raises UserError if the file has not the columns that ``columns`` names."""
        for ours, theirs in self.columns.items():
            if theirs not in names and theirs.partition(".")[0] not in names:
                raise UserError(
                    f"{key}: columns.{ours}: the file has no column `{theirs}`.{nearest(theirs, names)} It has "
                    f"{listed(names)}."
                )


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """A column, or a field inside one: ``reward_model.ground_truth``; None if it is not there.

    >>> look_up({"a": {"b": 3}}, "a.b")
    3
    """
    value: Any = row
    for part in [name] if name in row else name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def is_empty(value: Any, depth: int = 0) -> bool:
    """Whether a column holds nothing: Arrow and JSON give every row all columns that some row has.

    >>> [is_empty(value) for value in (None, " ", {"a": None, "b": []}, 0, False)]
    [True, True, True, False, False]
    """
    if isinstance(value, float):
        return value != value
    if isinstance(value, str):
        return not value.strip()
    if depth < _MOST_NESTED and isinstance(value, list | tuple):
        return all(is_empty(part, depth + 1) for part in value)
    if depth < _MOST_NESTED and isinstance(value, dict):
        return all(is_empty(part, depth + 1) for part in value.values())
    return value is None or value == b""


def check_text(text: str, source: str, where: str) -> None:
    """Raises UserError for half a character, as JSON may spell one: no tokenizer takes it."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{source}: {where} holds half a character (a lone surrogate). Mend the text or drop the row.")


def unread(source: str, what: str, name: str) -> UserError:
    """The error for something that would change what is trained on, were it dropped."""
    return UserError(
        f"{source}: {what} is not read. Drop the row or take it out of it; or leave it out knowingly with "
        f"`ignore: [{name}]` of the data source."
    )


def no_turns(row: Mapping[str, Any], source: str) -> UserError:
    """The error for a row in which no turn is found, with the nearest names that would be read."""
    known = (*DIALOGUES, *QUESTIONS)
    others = [name for name in row if name not in READ]
    similar = {other: near for other in others if (near := nearest(other, known).removeprefix(" Did you mean ")[:-1])}
    name, ours = next(iter(similar.items()), (others[0] if others else "NAME", "question"))
    near = f" `{name}` is like `{ours}`;" if similar else ""
    return UserError(
        f"{source}: no `{'`, `'.join(known)}` with a text. The row has {listed(list(row))}.{near} "
        f"say which column is the question with `columns: {{{ours}: {name}}}` of the data source."
    )


def listed(names: Sequence[str]) -> str:
    """Columns for an error."""
    more = f" and {len(names) - _MOST_COLUMNS} more" if len(names) > _MOST_COLUMNS else ""
    return (", ".join(str(name)[:40] for name in names[:_MOST_COLUMNS]) + more) or "no column"


def as_json(reading: Mapping[str, Any]) -> str:
    """Further keys of a data source for a message, as a configuration takes them."""
    return "".join(
        f", {name}: {value if isinstance(value, str) and name == 'image_root' else json.dumps(value, ensure_ascii=False)}"
        for name, value in reading.items()
    )
