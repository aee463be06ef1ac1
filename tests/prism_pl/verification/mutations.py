"""Answers that one change makes wrong: a sign, an operator, a relation, a point, a digit, a bracket, the order."""

import re
from collections.abc import Iterator

_ASCII_DIGITS = "0123456789"
_BRACKETS = {"(": "[", ")": "]", "[": "(", "]": ")"}
_REPLACED = [
    ("relation", r"\le", "<"), ("relation", r"\le", r"\ge"), ("relation", r"\leq", "<"), ("relation", r"\ge", ">"),
    ("relation", r"\ge", r"\le"), ("relation", r"\geq", ">"), ("relation", r"\ne", "="), ("relation", "≤", "<"),
    ("relation", "≥", ">"), ("operator", r"\cdot", "+"), ("operator", r"\times", "+"), ("operator", "×", "+"),
    ("operator", r"\cup", r"\cap"), ("operator", r"\cap", r"\cup"), ("operator", r"\pm", ""), ("operator", "√", ""),
]  # fmt: skip
# A sign changes nothing about zero.
_TERM = re.compile(r"(?<![\d.\w\\])(?:(?!0+(?:\.0+)?(?![\d.]))\d|[a-z](?![a-z]))")
_EXPONENT = re.compile(r"\^\{?(-?\d+|[a-z])\}?")
_NEIGHBOURS = re.compile(r"([^,;&()\[\]{}\\]+)([,&])([^,;&()\[\]{}\\]+)")


def mutants(gold: str) -> dict[str, str]:
    """What one change makes of an answer, with the kind of change."""
    changed: dict[str, str] = {}
    for kind, text in (*_characters(gold), *_commands(gold), *_terms(gold)):
        if text != gold and text.strip():
            changed.setdefault(text, kind)
    return changed


def _characters(gold: str) -> Iterator[tuple[str, str]]:
    for i, character in enumerate(gold):
        before, behind = gold[:i], gold[i + 1 :]
        if character == "+":
            yield "sign", f"{before}-{behind}"
        elif character == "-":
            yield "sign", f"{before}+{behind}"
            yield "sign", f"{before}{behind}"
        elif character == "*":
            yield "operator", f"{before}+{behind}"
        elif character == "/":
            yield "operator", f"{before}*{behind}"
        elif character == "<":
            yield "relation", f"{before}>{behind}"
            yield "relation", rf"{before}\le {behind}"
        elif character == ">":
            yield "relation", f"{before}<{behind}"
            yield "relation", rf"{before}\ge {behind}"
        elif character == "=":
            yield "relation", f"{before}<{behind}"
            yield "relation", rf"{before}\ne {behind}"
        elif character == "." and before[-1:].isdigit() and behind[:1].isdigit():
            yield "point", before + behind
        elif character in _BRACKETS:
            yield "bracket", before + _BRACKETS[character] + behind
        elif character in _ASCII_DIGITS:
            for step in (1, 7):
                yield "digit", f"{before}{(int(character) + step) % 10}{behind}"
            if behind[:1] and behind[0] in _ASCII_DIGITS:
                yield "point", f"{before}{character}.{behind}"


def _commands(gold: str) -> Iterator[tuple[str, str]]:
    for kind, old, new in _REPLACED:
        for match in re.finditer(re.escape(old) + "(?![a-zA-Z])", gold):
            yield kind, f"{gold[: match.start()]}{new} {gold[match.end() :]}"


def _terms(gold: str) -> Iterator[tuple[str, str]]:
    for match in _TERM.finditer(gold):
        before = gold[: match.start()]
        # Not where a sign stands already, and not between a word and what belongs to it.
        if not re.search(r"[-+]\s*$|[A-Za-z]\s*$|[A-Za-z]\{\s*$", before):
            yield "sign", f"{before}-{gold[match.start() :]}"
    for match in _EXPONENT.finditer(gold):
        larger = str(int(match[1]) + 2) if match[1].lstrip("-").isdigit() else f"{match[1]}+1"
        yield "exponent", gold[: match.start()] + gold[match.end() :]
        yield "exponent", f"{gold[: match.start()]}^{{{larger}}}{gold[match.end() :]}"
    for match in _NEIGHBOURS.finditer(gold):
        # The members of a bare list and of a set have no order, but those of the groups of a list have.
        is_grouped = ";" in gold and "=" not in gold
        bracket = re.search(r"(?<!\\)[(\[][^()\[\]]*$|\\langle[^()\[\]]*$", gold[: match.start() + 1])
        if match[2] == "," and not is_grouped and not bracket:
            continue
        yield "order", gold[: match.start()] + match[3] + match[2] + match[1] + gold[match.end() :]
