"""The response format and the segments that the discriminator scores. The one parser and the one builder.

A response is ``<caption>..</caption><think>..</think><answer>..</answer>``: each section once, in this order, not empty,
nothing but white space around. The perception segment is the caption, the reasoning segment is think and answer. Teacher
and policy texts take the same path: parsed, rebuilt in one canonical layout, tokenised anew, closed by the same token, so
that nothing but content can tell them apart (PRISM's released code leaked the role in the last token).
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

SECTION_NAMES = ("caption", "think", "answer")
_TAG = re.compile(r"</?(?:caption|think|answer)>")
_TAG_SEQUENCE = [tag for name in SECTION_NAMES for tag in (f"<{name}>", f"</{name}>")]


@dataclass(frozen=True)
class Sections:
    """The inner texts of a well-formed response, stripped."""

    caption: str
    think: str
    answer: str

    @property
    def perception(self) -> str:
        """The canonical text of the perception segment."""
        return f"<caption>\n{self.caption}\n</caption>"

    @property
    def reasoning(self) -> str:
        """The canonical text of the reasoning segment."""
        return f"<think>\n{self.think}\n</think>\n<answer>\n{self.answer}\n</answer>"


def parse_response(text: str) -> Sections | None:
    """The sections of a response, or None if it is malformed.

    >>> parse_response("<caption>a</caption><think>b</think><answer>c</answer>")
    Sections(caption='a', think='b', answer='c')
    >>> parse_response("<caption>a</caption><think>b</think><answer>c</answer> done") is None
    True
    """
    if _TAG.findall(text) != _TAG_SEQUENCE:
        return None
    # Six tags split the text in seven: before, caption, between, think, between, answer, after.
    before, caption, gap_1, think, gap_2, answer, after = (part.strip() for part in _TAG.split(text))
    if before or gap_1 or gap_2 or after or not (caption and think and answer):
        return None
    return Sections(caption, think, answer)


def well_formed(texts: Sequence[str]) -> list[str]:
    """The responses that have their sections."""
    return [text for text in texts if parse_response(text) is not None]


def segment_ids(
    sections: Sections, tokenizer: PreTrainedTokenizerBase, reasoning_sees_caption: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Token ids of the perception and the reasoning segment, each closed by the end token.

    A special token that a response spells out stays text: it could not be told from a real one otherwise.
    """
    before = f"{sections.perception}\n" if reasoning_sees_caption else ""
    perception, reasoning = (
        (*tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), tokenizer.eos_token_id)
        for text in (sections.perception, before + sections.reasoning)
    )
    return perception, reasoning


def caption_end(token_ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> int:
    """How many of a response's first tokens hold all of its caption with the closing tag; all, if it has none.

    A token that holds the tag's end and something after it counts as the caption's.
    """
    mark = f"</{SECTION_NAMES[0]}>"
    return bisect_left(
        range(len(token_ids)), True, key=lambda n: mark in tokenizer.decode(list(token_ids[:n]), skip_special_tokens=True)
    )


def count_items(text: str) -> int:
    """Lines that hold text: caption bullets or reasoning steps, the proxies of the paper's distribution figures."""
    return sum(1 for line in text.splitlines() if line.strip(" -*\t"))
