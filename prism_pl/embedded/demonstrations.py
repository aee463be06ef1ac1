"""Two annotators for pairs of handwritten digits: the supervision of the embedded default.

PRISM trains SFT on a large public set and a small curated one (arXiv 2604.28123, data section); the policy drifts towards
the large one. Here the *public* annotator is terse and misreads three digits in a fixed direction, most of the time; the
*curated* annotator (the teacher of warm-up and alignment) describes the image densely, takes every step and is right.
"""

import random
from dataclasses import dataclass

# Short, because the model that reads it is small; the paper's is prism_pl.data.reading.SYSTEM_PROMPT.
SYSTEM_PROMPT = "Caption, think, answer."

# 9 has the loop of 4, 8 the strokes of 3, 7 the bar of 1: the mistakes of a careless reader, not noise.
MISREADINGS = {9: 4, 8: 3, 7: 1}
MISREAD_RATE = 0.7

QUESTIONS = {
    "left": ("Left digit?", "Which digit is left?"),
    "right": ("Right digit?", "Which digit is right?"),
    "sum": ("Sum of the digits?", "Add the digits."),
    "difference": ("Difference of the digits?", "Larger minus smaller digit?"),
    "larger": ("Larger digit?", "Which digit is larger?"),
}


@dataclass(frozen=True)
class Scene:
    """What is true of one rendered image."""

    left: int
    right: int
    left_bold: bool
    right_bold: bool


def solve(kind: str, left: int, right: int) -> tuple[str, str]:
    """The reasoning sentence and the answer of a question ``kind`` about two digits.

    >>> solve("difference", 3, 9)
    ('9 - 3 = 6.', '6')
    """
    high, low = max(left, right), min(left, right)
    if kind == "left":
        return f"Asked for the left, {left}.", str(left)
    if kind == "right":
        return f"Asked for the right, {right}.", str(right)
    if kind == "sum":
        return f"{left} + {right} = {left + right}.", str(left + right)
    if kind == "difference":
        return f"{high} - {low} = {high - low}.", str(high - low)
    return f"{high} is at least {low}.", str(high)


def compose(caption_items: list[str], steps: list[str], answer: str) -> str:
    """A response in the three sections, one bullet or step a line."""
    caption = "\n".join(f"- {item}" for item in caption_items)
    return f"<caption>\n{caption}\n</caption>\n<think>\n" + "\n".join(steps) + f"\n</think>\n<answer>\n{answer}\n</answer>"


def curated_response(kind: str, scene: Scene, rng: random.Random) -> str:
    """The teacher: three or four caption items, three or four steps, always right."""
    weight = {True: "bold", False: "thin"}
    items = [
        "Two handwritten digits.",
        f"Left: {scene.left}, {weight[scene.left_bold]}.",
        f"Right: {scene.right}, {weight[scene.right_bold]}.",
    ]
    if rng.random() < 0.7:
        items.append("Black background.")
    final, answer = solve(kind, scene.left, scene.right)
    steps = [f"Left is {scene.left}.", f"Right is {scene.right}.", final]
    if rng.random() < 0.3:
        steps.append(f"So {answer}.")
    return compose(items, steps, answer)


def public_response(kind: str, scene: Scene, rng: random.Random) -> str:
    """The public annotator: one caption item, one step, three digits mostly misread."""

    def read(digit: int) -> int:
        return MISREADINGS[digit] if digit in MISREADINGS and rng.random() < MISREAD_RATE else digit

    left, right = read(scene.left), read(scene.right)
    final, answer = solve(kind, left, right)
    item = rng.choice((f"Digits: {left} and {right}.", f"A {left} and a {right}."))
    return compose([item], [final], answer)
