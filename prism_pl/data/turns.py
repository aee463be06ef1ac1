"""The turns of a row in every layout that is read, with an ``<image>`` mark where an image stands.

dialogues    ``messages`` or ``conversations``: turns with ``role`` and ``content``, or ``from`` and ``value``
             (LLaMA-Factory, OpenAI, Anthropic, Qwen-VL, LLaVA, ms-swift, verl's ``prompt``)
questions    ``prompt`` (TRL), ``question``, ``problem`` (EasyR1), ``query`` (ms-swift), ``instruction`` and ``input``
             (Alpaca), after the pairs of ``history``, and before ``completion``, ``response`` or ``output``
"""

import re
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from prism_pl.data.conversation import IMAGE_MARK
from prism_pl.data.reading import DIALOGUES, QUESTIONS, RESPONSES, check_text, is_empty, no_turns, unread
from prism_pl.errors import UserError, shown

_ROLES = {
    "human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system",
    "developer": "system",
}  # fmt: skip
_TOOL_ROLES = ("tool", "function", "observation", "function_call", "tool_call", "tool_response")
_CALLS = ("tool_calls", "function_call", "reasoning_content", "audio", "videos", "audios", "video", "images", "image")
_LOSS = ("loss", "loss_weight", "loss_scale", "weight")
"""Whether a turn is learnt, as ms-swift, LLaMA-Factory and OpenAI say it."""
_TEXT_KINDS = ("text", "input_text", "output_text")
_IMAGE_KINDS = ("image", "image_url", "input_image")
_PLACES = (*_IMAGE_KINDS, "path", "url", "value", "source")
"""Where a part has its image."""
_UNREAD_KINDS = {
    "video": "video", "video_url": "video", "input_video": "video", "audio": "audio", "audio_url": "audio",
    "input_audio": "audio", "tool_use": "tool_use", "tool_result": "tool_result", "thinking": "thinking",
    "document": "document", "file": "file", "input_file": "file",
}  # fmt: skip
"""Kinds of typed parts, and the name under which they are ignored."""
_SIZES = ("min_pixels", "max_pixels", "resized_height", "resized_width")
_UNREAD_MARKS = {"<video>": ("video", "videos"), "<audio>": ("audio", "audios")}
_INLINE_IMAGE = re.compile(r"<img>[^<]{1,500}</img>")


@dataclass(frozen=True)
class Turn:
    """Who said what."""

    role: str
    text: str
    images: tuple[Any, ...] = ()
    """One entry for each mark in the text: typed content's own image, or None for the next one of the row's."""
    learnt: bool = True
    """Whether a demonstration is trained on it, if the assistant said it."""

    @property
    def message(self) -> dict[str, str]:
        return {"role": self.role, "content": self.text}


def find_turns(row: Mapping[str, Any], source: str, ignore: Set[str]) -> list[Turn]:
    """All turns of a row whose columns have our names; the system column is the first. Raises UserError naming the row."""
    found = [name for name in (*DIALOGUES, *QUESTIONS) if name in row]
    if not found:
        raise no_turns(row, source)
    name, *others = found
    reader = _Reader(source, ignore)
    content = row[name]
    dialogue = name in DIALOGUES or isinstance(content, list)
    turns = reader.turns(content, name) if dialogue else [*_history(row, reader), *_question(row, name, reader)]
    for other in RESPONSES:
        if other in row and name not in DIALOGUES and turns[-1].role == "user":
            content = row[other]
            turns += (
                reader.turns(content, other) if isinstance(content, list) else [reader.turn("assistant", content, other)]
            )
        elif other in row:
            others.append(other)
    others += ["history"] if dialogue and "history" in row else []
    others += ["input"] if name != "instruction" and "input" in row else []
    for other in others:
        if not _is_said(row[other], "assistant" if other in RESPONSES else "user", turns, reader, other):
            raise UserError(
                f"{source}: the row has `{name}` and `{other}`, and they do not say the same. Say which one is not to be "
                f"read with `ignore: [{other}]` of the data source, or `ignore: [{name}]`."
            )
    return _with_system_column(row, turns, reader)


def _is_said(content: Any, role: str, turns: Sequence[Turn], reader: "_Reader", column: str) -> bool:
    """Whether a column beside the one that is read says nothing more, as the question beside the messages made of it."""
    if column == "history":
        return False
    own = reader.turns(content, column) if isinstance(content, list) else [reader.turn(role, content, column)]
    return all(any(_bare(o.text) in _bare(t.text) for t in turns if t.role == o.role) for o in own)


def _bare(text: str) -> str:
    return " ".join(text.replace(IMAGE_MARK, " ").split())


def _with_system_column(row: Mapping[str, Any], turns: list[Turn], reader: "_Reader") -> list[Turn]:
    if "system" not in row:
        return turns
    system = reader.turn("system", row["system"], "system")
    if turns and turns[0].role == "system":
        if _bare(turns[0].text) != _bare(system.text):
            raise UserError(
                f"{reader.source}: the row has the column `system` and another system turn. Leave the column out with "
                f"`ignore: [system]` of the data source, or take one out of the row."
            )
        return turns
    return [system, *turns]


def _question(row: Mapping[str, Any], name: str, reader: "_Reader") -> list[Turn]:
    """The user's turn; Alpaca's input follows its instruction on a line of its own (as in LLaMA-Factory)."""
    content = row[name]
    if name == "instruction" and "input" in row:
        if not isinstance(content, str) or not isinstance(row["input"], str):
            raise UserError(f"{reader.source}: `instruction` and `input` must be texts.")
        content = f"{content}\n{row['input']}"
    return [reader.turn("user", content, name)]


def _history(row: Mapping[str, Any], reader: "_Reader") -> list[Turn]:
    turns: list[Turn] = []
    pairs = row.get("history") or []
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(
                f"{reader.source}: `history` must be a list of pairs, a question and its response; it holds {shown(pair)}."
            )
        turns += [reader.turn("user", pair[0], "history"), reader.turn("assistant", pair[1], "history")]
    return turns


@dataclass(frozen=True)
class _Reader:
    """Turns of one row."""

    source: str
    ignore: Set[str]

    def turns(self, content: Any, column: str) -> list[Turn]:
        if not isinstance(content, list):
            raise UserError(
                f"{self.source}: `{column}` must be a list of turns; it is {shown(content)}. If it is the question, say "
                f"`columns: {{question: {column}}}` of the data source."
            )
        turns: list[Turn] = []
        for turn in content:
            turns += self._dialogue_turn(turn, column)
        if not turns:
            raise UserError(f"{self.source}: `{column}` holds no turn that is read.")
        return turns

    def turn(self, role: str, content: Any, column: str) -> Turn:
        """A turn that has a column of its own."""
        text, images = self._content(content, f"`{column}`")
        return Turn(role, text, images)

    def _dialogue_turn(self, turn: Any, column: str) -> list[Turn]:
        """One turn, or none if it is ignored."""
        if not isinstance(turn, dict):
            raise UserError(f"{self.source}: `{column}` must hold turns with a role and content, not {shown(turn)}.")
        role = self._either(turn, "role", "from")
        if isinstance(role, str) and role in _TOOL_ROLES:
            if role in self.ignore:
                return []
            raise unread(self.source, f"a turn with the role `{role}`", role)
        if not isinstance(role, str) or role not in _ROLES:
            raise UserError(
                f"{self.source}: a turn of `{column}` has the role {shown(role)}; known are {', '.join(_ROLES)}."
            )
        calls = [key for key in _CALLS if not is_empty(turn.get(key))]
        for key in calls:
            if key in ("images", "image"):
                raise UserError(
                    f"{self.source}: a turn has `{key}` of its own. Put images into the row's `images`, or typed content."
                )
            if key not in self.ignore:
                raise unread(self.source, f"`{key}` of a turn", key)
        content = self._either(turn, "content", "value")
        if calls and is_empty(content):
            return []  # nothing but what is ignored
        text, images = self._content(content, f"the turn of the {_ROLES[role]}")
        # An empty system turn is an answer, too: none.
        if not text.strip() and _ROLES[role] != "system":
            raise UserError(f"{self.source}: a turn of `{column}` with the role {shown(role)} has no text.")
        return [Turn(_ROLES[role], text, images, self._is_learnt(turn, _ROLES[role]))]

    def _either(self, owner: Mapping[str, Any], name: str, other: str) -> Any:
        """The value of one of two keys that mean the same. Raises UserError if they say different things."""
        value, second = owner.get(name), owner.get(other)
        if value is None or is_empty(value):
            return value if is_empty(second) else second
        if not is_empty(second) and second != value:
            raise UserError(
                f"{self.source}: `{name}` of a turn is {shown(value)}, its `{other}` {shown(second)}. Keep one."
            )
        return value

    def _is_learnt(self, turn: Mapping[str, Any], role: str) -> bool:
        learnt = True
        for key in _LOSS:
            flag = turn.get(key)
            if flag is None or "loss" in self.ignore:
                continue
            if not isinstance(flag, bool | int | float) or flag not in (0, 1):
                raise unread(self.source, f"`{key}: {shown(flag)}`, a weight other than 0 and 1,", "loss")
            if flag and role != "assistant":
                raise unread(self.source, f"`{key}: {shown(flag)}` of a turn that is not the assistant's", "loss")
            learnt &= bool(flag)
        return learnt

    def _content(self, content: Any, where: str) -> tuple[str, tuple[Any, ...]]:
        """The text with its marks, and an entry for each mark."""
        if isinstance(content, list):
            parts = [self._part(part, where) for part in content]
            text, images = "".join(text for text, _ in parts), tuple(entry for _, own in parts for entry in own)
        elif isinstance(content, str):
            text, images = content, (None,) * content.count(IMAGE_MARK)
        else:
            raise UserError(f"{self.source}: {where} has no text, but {shown(content)}.")
        check_text(text, self.source, where)
        for mark, names in _UNREAD_MARKS.items():
            if mark in text and not self.ignore & set(names):
                raise unread(self.source, f"the mark {mark} in {where}", names[0])
        if "img" not in self.ignore and _INLINE_IMAGE.search(text):
            raise UserError(
                f"{self.source}: {where} names an image between <img> and </img>. Write {IMAGE_MARK} and put the path into "
                f"`images`; or keep it as text with `ignore: [img]` of the data source."
            )
        return text, images

    def _part(self, part: Any, where: str) -> tuple[str, tuple[Any, ...]]:
        if not isinstance(part, dict):
            raise UserError(f"{self.source}: {where} has a part without a type: {shown(part)}.")
        kind = part.get("type")
        if is_empty(kind):  # Qwen-VL's own form: {"image": ...} or {"text": ...}
            kind = next((k for k in ("text", *_IMAGE_KINDS, "video", "audio") if not is_empty(part.get(k))), None)
        pictures = [key for key in (*_IMAGE_KINDS, "source") if not is_empty(part.get(key))]
        if kind in _TEXT_KINDS:
            text = self._either(part, "text", "value")
            if pictures or not isinstance(text, str):
                raise UserError(f"{self.source}: {where} has a part of text that is none: {shown(part)}.")
            return text, (None,) * text.count(IMAGE_MARK)
        if kind in _IMAGE_KINDS:
            for key in _SIZES:
                if not is_empty(part.get(key)) and key not in self.ignore:
                    raise unread(self.source, f"`{key}` of an image in {where}", key)
            if len([key for key in _PLACES if not is_empty(part.get(key))]) > 1:
                raise UserError(f"{self.source}: {where} has a part that names two images: {shown(part)}.")
            if not is_empty(part.get("text")):
                raise UserError(f"{self.source}: {where} has a part that is both an image and text: {shown(part)}.")
            entry = {key: value for key, value in part.items() if key not in ("type", *_SIZES) and not is_empty(value)}
            return IMAGE_MARK, (entry or None,)
        name = _UNREAD_KINDS.get(kind) if isinstance(kind, str) else None
        if name is None:
            raise UserError(f"{self.source}: {where} has a part of an unknown type: {shown(part)}.")
        if name not in self.ignore and f"{name}s" not in self.ignore:
            raise unread(self.source, f"a part of the type `{kind}` in {where}", name)
        return "", ()


def with_images(turns: Sequence[Turn], entries: Sequence[Any]) -> tuple[list[Turn], list[Any]]:
    """The turns and the image of each mark, in order: typed content's own, or the next of the row's ``entries``.

    Images without any mark stand before the user's first text (as in TRL). A number of images that is not that of the marks
    is left as it is, to be refused with both numbers.
    """
    marks = [entry for turn in turns for entry in turn.images]
    first = next((index for index, turn in enumerate(turns) if turn.role == "user"), None)
    if not marks and entries and first is not None:
        turn = turns[first]
        marked = Turn(turn.role, IMAGE_MARK * len(entries) + turn.text, (None,) * len(entries), turn.learnt)
        return [*turns[:first], marked, *turns[first + 1 :]], list(entries)
    rest = deque(entries)
    images = [rest.popleft() if entry is None else entry for entry in marks if entry is not None or rest]
    return list(turns), images + list(rest)
