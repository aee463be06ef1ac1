"""Pairs of teachers alone: who lends to whom, and which prompt a response belongs to, by hand."""

import math

import pytest
import torch

from prism_pl.game import across_loss, negative_indices

NONE: list[tuple[str, ...]] = [()] * 4


def test_lenders_are_the_next_different_ones() -> None:
    """One word each, none in common: all are equally alike, so the order decides."""
    teachers = ["a", "b", "a", "c"]
    assert negative_indices(teachers, NONE, 1) == [[1], [2], [3], [0]]
    # Nobody's own text, and no text twice: from the first the next are b, (a) and c; from the last a, b, (a).
    assert negative_indices(teachers, NONE, 2) == [[1, 3], [2, 3], [3, 1], [0, 1]]
    # Every row is as wide as asked for.
    assert negative_indices(teachers, NONE, 3) == [[1, 3, -1], [2, 3, -1], [3, 1, -1], [0, 1, -1]]
    assert negative_indices(teachers, NONE, 0) == [[], [], [], []]
    # Without a different one there is none.
    assert negative_indices(["a"], NONE[:1], 1) == [[-1]]
    assert negative_indices(["a", "a"], NONE[:2], 1) == [[-1], [-1]]
    assert negative_indices(["", "a"], NONE[:2], 1) == [[1], [0]]


def test_the_most_alike_come_first() -> None:
    teachers = ["a b c", "x y", "a b d", "a a b"]
    # Of the first: with "x y" 0, with "a b d" 2 / 4, with "a a b" 2 / 4 (one a is in common): the earlier of equals.
    # Of the third: "a b c" 2 / 4 and "a a b" 2 / 4, the next in the batch is the fourth.
    assert negative_indices(teachers, NONE, 2) == [[2, 3], [2, 3], [3, 0], [0, 2]]


def test_nobody_borrows_what_is_said_of_its_own_image() -> None:
    teachers = ["a b", "a c", "a d", "x"]
    images = [("0.png",), ("0.png",), ("1.png",), ()]
    # "a c" is the most like the first and describes the same image, so it may be right.
    assert negative_indices(teachers, images, 1) == [[2], [2], [0], [0]]
    # No image is not one image: without images the question tells them apart.
    assert negative_indices(teachers[:2], NONE[:2], 1) == [[1], [0]]


def softplus(value: float) -> float:
    return math.log1p(math.exp(value))


def test_which_prompt_a_response_belongs_to_by_hand() -> None:
    """Three prompts, two of which borrow from the next; the second aspect's scores are all 0."""
    teacher_QK = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    wrong_QJK = torch.tensor([[[0.5, 0.0]], [[-3.0, 0.0]], [[9.0, 9.0]]], dtype=torch.float64, requires_grad=True)
    loss = across_loss(teacher_QK, wrong_QJK, torch.tensor([[1], [2], [-1]]))
    # The second's response under its own prompt and under the first: 2 - 0.5. The third's under the second: -1 + 3.
    # Two margins of 0 for the second aspect, log 2 each; a mean over two pairs.
    assert loss.item() == pytest.approx((softplus(-1.5) + softplus(-2) + 2 * math.log(2)) / 2, rel=1e-12)
    teacher, wrong = torch.autograd.grad(loss, (teacher_QK, wrong_QJK))
    first, second = 1 / (1 + math.exp(1.5)) / 2, 1 / (1 + math.exp(2)) / 2
    expected = [[0.0, 0.0], [-first, -0.25], [-second, -0.25]]
    torch.testing.assert_close(teacher, torch.tensor(expected, dtype=torch.float64))
    expected = [[first, 0.25], [second, 0.25], [0.0, 0.0]]
    torch.testing.assert_close(wrong[:, 0], torch.tensor(expected, dtype=torch.float64))
    # Without pairs it is 0, not NaN.
    assert across_loss(teacher_QK, wrong_QJK, torch.full((3, 1), -1)).item() == 0
