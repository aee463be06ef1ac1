r"""Formats that prompts of other projects ask for, and that no reward of ours reads as the answer.

A response must have the sections caption, think and answer. A prompt that asks for ``\boxed{}`` instead is answered as it
asks, and every answer is malformed.
"""

import re

from prism_pl.data.conversation import PromptRow

_FORMATS = {
    r"\boxed{}": re.compile(r"\\+boxed"),
    "#### before the answer": re.compile(r"####"),
    "<think> and <answer> without <caption>": re.compile(r"<think>|<answer>"),
    "a line `Answer: ...`": re.compile(r"Answer:\s*(?:\$|\\?\[|\{)"),
    "JSON": re.compile(r"\b(?:in|as|valid) JSON\b"),
}


def asked_format(row: PromptRow) -> str | None:
    """What the prompt asks for that is not read; None if it asks for our sections, or for nothing known.

    >>> asked_format(PromptRow("rows:1", ({"role": "user", "content": "Put it in \\\\boxed{}."},), ()))
    '\\\\boxed{}'
    """
    text = "\n".join(turn["content"] for turn in row.messages if turn["role"] != "assistant")
    found = [name for name, pattern in _FORMATS.items() if pattern.search(text)]
    if "<caption>" in text:
        # The user's own words may still ask for another one.
        found = [name for name in found if not name.startswith("<")]
    return found[0] if found else None
