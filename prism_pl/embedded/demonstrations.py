"""Three ways to answer about three handwritten digits: the supervision of the embedded default.

PRISM starts from a model that sees and reasons; SFT on a large public set then drifts from it (arXiv 2604.28123, data
section). Here the *base* answers plainly and step by step. The *public* annotator is terse: it misreads three digits in a
fixed direction, half of the time, and skips the steps. The *curated* annotator (the teacher of warm-up and alignment)
describes the image densely, takes every step and is right.
"""

import random
from dataclasses import dataclass

# Short, because the model that reads it is small; the paper's is prism_pl.data.reading.SYSTEM_PROMPT.
SYSTEM_PROMPT = "Caption, think, answer."

# 9 has the loop of 4, 8 the strokes of 3, 7 the bar of 1: the mistakes of a careless reader, not noise.
MISREADINGS = {9: 4, 8: 3, 7: 1}
MISREAD_RATE = 0.5

# None has an answer that a glance gives: each needs all three digits and two steps.
QUESTIONS = {
    "largest": ("Largest digit?", "Which digit is largest?"),
    "span": ("Largest minus smallest?", "Span of the digits?"),
    "sum": ("Sum of the digits?", "Add the digits."),
}
READING_QUESTION = "Read."

Digits = tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """What is true of one rendered image, from left to right."""

    digits: Digits
    bold: tuple[bool, bool, bool]


def solve(kind: str, digits: Digits) -> tuple[list[str], str]:
    """The two steps and the answer of a question ``kind``.

    >>> solve("span", (3, 9, 4))
    (['Largest 9, smallest 3.', '9 - 3 = 6.'], '6')
    >>> solve("sum", (3, 9, 4))
    (['3 + 9 = 12.', '12 + 4 = 16.'], '16')
    """
    first, second, third = digits
    if kind == "sum":
        half = first + second
        return [f"{first} + {second} = {half}.", f"{half} + {third} = {half + third}."], str(half + third)
    high, low = max(digits), min(digits)
    if kind == "span":
        return [f"Largest {high}, smallest {low}.", f"{high} - {low} = {high - low}."], str(high - low)
    half = max(first, second)
    return [f"{first} or {second}: {half}.", f"{half} or {third}: {high}."], str(high)


def compose(caption_items: list[str], steps: list[str], answer: str) -> str:
    """A response in the three sections, one bullet or step a line."""
    caption = "\n".join(f"- {item}" for item in caption_items)
    return f"<caption>\n{caption}\n</caption>\n<think>\n" + "\n".join(steps) + f"\n</think>\n<answer>\n{answer}\n</answer>"


def base_response(kind: str, scene: Scene, rng: random.Random) -> str:
    """The base: one to three caption items, every step, right; how much it says varies."""
    return _careful(kind, scene, rng, weights=0.5, background=0.35, conclusion=0.15)


def curated_response(kind: str, scene: Scene, rng: random.Random) -> str:
    """The teacher: two or three caption items, two or three steps, always right."""
    return _careful(kind, scene, rng, weights=1.0, background=0.7, conclusion=0.3)


def _careful(kind: str, scene: Scene, rng: random.Random, weights: float, background: float, conclusion: float) -> str:
    """What is read and every step, with the optional lines at these rates."""
    items = [_listed(scene.digits)]
    if rng.random() < weights:
        left, middle, right = ("bold" if bold else "thin" for bold in scene.bold)
        items.append(f"Left {left}, middle {middle}, right {right}.")
    if rng.random() < background:
        items.append("Black background.")
    steps, answer = solve(kind, scene.digits)
    if rng.random() < conclusion:
        steps.append(f"So {answer}.")
    return compose(items, steps, answer)


def public_response(kind: str, scene: Scene, rng: random.Random) -> str:
    """The public annotator: one caption item, no step, three digits often misread."""

    def read(digit: int) -> int:
        return MISREADINGS[digit] if digit in MISREADINGS and rng.random() < MISREAD_RATE else digit

    first, second, third = (read(digit) for digit in scene.digits)
    seen = (first, second, third)
    answer = solve(kind, seen)[1]
    return compose([_listed(seen)], [f"So {answer}."], answer)


def exercise(rng: random.Random, count: int = 4) -> tuple[str, str]:
    """A text-only question about ``count`` triples and its worked answer: how the base learns the steps without images."""
    kind = rng.choice(list(QUESTIONS))
    triples: list[Digits] = [(rng.randrange(10), rng.randrange(10), rng.randrange(10)) for _ in range(count)]
    lines = []
    for digits in triples:
        steps, answer = solve(kind, digits)
        lines.append(f"{_listed(digits)} {' '.join(steps)} {answer}")
    return rng.choice(QUESTIONS[kind]) + " " + " ".join(_listed(digits) for digits in triples), "\n".join(lines)


def _listed(digits: Digits) -> str:
    return f"Digits {digits[0]} {digits[1]} {digits[2]}."
