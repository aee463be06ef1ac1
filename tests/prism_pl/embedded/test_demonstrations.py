"""What the three annotators say of an image, and that no held-out digit is trained on."""

import random
import re
from itertools import combinations

import pytest

from prism_pl.embedded.demonstrations import (
    MISREADINGS,
    QUESTIONS,
    Digits,
    Scene,
    base_response,
    curated_response,
    exercise,
    public_response,
    solve,
)
from prism_pl.embedded.digits import draw_scene, load_pools
from prism_pl.segments import parse_response

SCENE = Scene((9, 0, 7), (True, False, True))


@pytest.mark.parametrize(
    ("kind", "digits", "steps", "answer"),
    [
        ("largest", (2, 7, 5), ["2 or 7: 7.", "7 or 5: 7."], "7"),
        ("largest", (4, 4, 4), ["4 or 4: 4.", "4 or 4: 4."], "4"),
        ("span", (2, 7, 5), ["Largest 7, smallest 2.", "7 - 2 = 5."], "5"),
        ("span", (0, 0, 0), ["Largest 0, smallest 0.", "0 - 0 = 0."], "0"),
        ("sum", (9, 9, 9), ["9 + 9 = 18.", "18 + 9 = 27."], "27"),
    ],
)
def test_steps_and_answer(kind: str, digits: Digits, steps: list[str], answer: str) -> None:
    assert solve(kind, digits) == (steps, answer)


def test_the_teacher_reads_every_digit_and_takes_every_step() -> None:
    rng = random.Random(0)
    for _ in range(50):
        response = curated_response("sum", SCENE, rng)
        assert response.startswith("<caption>\n- Digits 9 0 7.\n- Left bold, middle thin, right bold.\n")
        assert "9 + 0 = 9.\n9 + 7 = 16.\n" in response
        assert response.endswith("<answer>\n16\n</answer>")


def test_the_base_says_now_more_and_now_less() -> None:
    rng = random.Random(0)
    said = {base_response("span", SCENE, rng) for _ in range(200)}
    # Two optional caption items and one optional step.
    assert len(said) == 2**3
    assert all("- Digits 9 0 7." in text and "9 - 0 = 9." in text for text in said)


def test_the_public_annotator_misreads_as_told_and_skips_the_steps() -> None:
    rng = random.Random(0)
    said = {public_response("sum", SCENE, rng) for _ in range(200)}
    # 9 is read 9 or 4, 7 is read 7 or 1; 0 always right.
    read = {tuple(map(int, re.findall(r"\d", text.split("\n")[1]))) for text in said}
    assert read == {(first, 0, third) for first in (9, MISREADINGS[9]) for third in (7, MISREADINGS[7])}
    for text in said:
        first, second, third = map(int, re.findall(r"\d", text.split("\n")[1]))
        assert f"<think>\nSo {first + second + third}.\n</think>" in text


def test_all_three_keep_the_format() -> None:
    rng = random.Random(0)
    for kind in QUESTIONS:
        for text in (
            base_response(kind, SCENE, rng),
            curated_response(kind, SCENE, rng),
            public_response(kind, SCENE, rng),
        ):
            assert parse_response(text) is not None


def test_exercises_are_right() -> None:
    rng = random.Random(0)
    kinds = {wording: kind for kind, wordings in QUESTIONS.items() for wording in wordings}
    for _ in range(50):
        question, worked = exercise(rng)
        wording, *triples = re.split(r" ?Digits ", question)
        for triple, line in zip(triples, worked.split("\n"), strict=True):
            first, second, third = map(int, triple.strip(". ").split())
            steps, answer = solve(kinds[wording], (first, second, third))
            assert line == f"Digits {first} {second} {third}. {' '.join(steps)} {answer}"


def test_training_held_out_and_test_share_no_digit() -> None:
    pools = load_pools()
    parts = (pools.training, pools.heldout, pools.test)
    # A quarter of 1,797 is unseen, and half of it is for the study.
    assert [len(part.labels) for part in parts] == [1347, 225, 225]
    assert all(set(part.labels) == set(range(10)) for part in parts)
    images = [{image.tobytes() for image in part.images} for part in parts]
    assert [len(own & other) for own, other in combinations(images, 2)] == [0, 0, 0]


def test_a_scene_is_what_was_drawn() -> None:
    training = load_pools().training
    image, scene = draw_scene(training, random.Random(3))
    again, same = draw_scene(training, random.Random(3))
    assert image.size == (96, 32)
    assert (image.tobytes(), scene) == (again.tobytes(), same)
