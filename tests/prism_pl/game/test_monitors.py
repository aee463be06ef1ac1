"""What is told of the game, by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prism_pl.data.conversation import PromptEncoder
from prism_pl.discriminators import Scorer
from prism_pl.discriminators.routing import Usage
from prism_pl.game import Scores, arrange, make_scoring_batch, score
from prism_pl.game.monitors import (
    accuracy,
    add_expert_load,
    add_game_metrics,
    add_image_effect,
    add_length_correlation,
    add_pair_metrics,
    blank_images,
    expert_loads,
    game_metrics,
    image_effects,
    length_correlations,
    pair_metrics,
    swap_images,
)
from prism_pl.metrics.collection import StepMetrics
from prism_pl.model.packing import pack
from prism_pl.types import Prompt


def make_scores(teacher_PK: list[list[float]], policy_PGK: list[list[list[float]]], valid_PG: list[list[bool]]) -> Scores:
    return Scores(torch.tensor(teacher_PK), torch.tensor(policy_PGK), torch.tensor(valid_PG))


def test_equal_scores_are_half_right() -> None:
    assert accuracy(torch.tensor([2.0, 0.0, -1e-3, 1e-3, -3.0])).tolist() == [1.0, 0.5, 0.0, 1.0, 0.0]


def test_game_metrics_by_hand() -> None:
    # Margins of perception: 2 - 1, 2 - 2 and 0 - 3; the malformed response of the second prompt has none.
    scores = make_scores(
        [[2.0, 1.0], [0.0, 0.0]],
        [[[1.0, 0.0], [2.0, 3.0]], [[3.0, -1.0], [0.0, 0.0]]],
        [[True, True], [True, False]],
    )
    metrics = StepMetrics(game_metrics("heldout/"))
    add_game_metrics(scores, metrics, "heldout/")
    result = metrics.result()
    perception = {name.split("heldout/")[1]: value for name, value in result.items() if "perception" in name}
    assert perception == {
        "reward_gap/perception": pytest.approx((1 + 0 - 3) / 3),
        "accuracy/perception": pytest.approx((1 + 0.5 + 0) / 3),
        # The second prompt has one valid response alone: 2 - max(1, 2).
        "unreached_gap/perception": pytest.approx(0.0),
        # log(1 + e^-m) of 1, 0, -3.
        "discriminator_loss/perception": pytest.approx((0.313262 + 0.693147 + 3.048587) / 3, abs=1e-6),
        "score/teacher_perception": pytest.approx(1.0),
        "score/policy_perception": pytest.approx((1 + 2 + 3) / 3),
        # Two teachers and three responses: 4 + 0 + 1 + 4 + 9.
        "score/square_perception": pytest.approx(18 / 5),
        # Sorted -3, 0, 1: a tenth of the way is a fifth of the first step.
        "margin/perception_p10": pytest.approx(-3 + 0.2 * 3),
        "margin/perception_p50": pytest.approx(0.0),
        "margin/perception_p90": pytest.approx(0.8),
    }
    assert result["heldout/reward_gap/reasoning"] == pytest.approx((1 - 2 + 1) / 3)
    assert result["heldout/accuracy/reasoning"] == pytest.approx(2 / 3)
    assert result["heldout/format_rate"] == 0.75


def test_the_unreached_gap_is_that_of_each_groups_best_valid_response() -> None:
    # Perception: 5 - max(1, 4), and 3 - max(6, -1), whose malformed 0 is no response. One valid response is no group.
    scores = make_scores(
        [[5.0, 0.0], [3.0, 0.0], [9.0, 0.0]],
        [
            [[1.0, 0.0], [4.0, 0.0], [0.0, 0.0]],
            [[6.0, -2.0], [0.0, 0.0], [-1.0, -3.0]],
            [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]],
        ],
        [[True, True, False], [True, False, True], [False, True, False]],
    )
    metrics = StepMetrics(game_metrics())
    add_game_metrics(scores, metrics)
    result = metrics.result()
    assert result["unreached_gap/perception"] == pytest.approx((1 - 3) / 2)
    assert result["unreached_gap/reasoning"] == pytest.approx((0 + 2) / 2)


def test_nothing_is_made_up_for_pairs_that_are_not_there() -> None:
    metrics = StepMetrics(game_metrics() | pair_metrics("past/"))
    add_game_metrics(make_scores([[2.0, 1.0]], [[[0.0, 0.0]]], [[False]]), metrics)
    add_pair_metrics(Scores(torch.zeros(0, 2), torch.zeros(0, 3, 2), torch.zeros(0, 3, dtype=torch.bool)), metrics, "past/")
    assert set(metrics.result()) == {
        "format_rate",
        "score/teacher_perception",
        "score/teacher_reasoning",
        "score/square_perception",
        "score/square_reasoning",
    }
    assert metrics.result()["score/square_perception"] == 4.0


def correlations(scores: Scores, length_PG: list[list[int]]) -> dict[str, float]:
    metrics = StepMetrics(length_correlations())
    add_length_correlation(scores, torch.tensor(length_PG), metrics)
    return {name.removeprefix("score_length_correlation/"): value for name, value in metrics.result().items()}


def test_length_correlation_by_hand() -> None:
    """Centred in each group: perception (-1, 0, 1) and (-2, 2), lengths (-10, 10, 0) and (5, -5)."""
    scores = make_scores(
        [[0.0, 0.0], [0.0, 0.0]],
        [[[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], [[10.0, 7.0], [99.0, 0.0], [14.0, 7.0]]],
        [[True, True, True], [True, False, True]],
    )
    found = correlations(scores, [[10, 30, 20], [45, 1000, 35]])
    # Products 10 + 0 + 0 - 10 - 10 = -10; squares 1 + 0 + 1 + 4 + 4 = 10 and 100 + 100 + 0 + 25 + 25 = 250.
    assert found == {"perception": pytest.approx(-10 / math.sqrt(10 * 250), abs=1e-6)}, "equal reasoning scores have none"


def test_length_correlation_of_constant_lengths_is_not_told() -> None:
    scores = make_scores([[0.0, 0.0]], [[[1.0, 2.0], [3.0, 1.0]]], [[True, True]])
    assert correlations(scores, [[20, 20]]) == {}
    assert correlations(scores, [[20, 21]]) == {"perception": pytest.approx(1.0), "reasoning": pytest.approx(-1.0)}


@given(
    lengths=st.lists(st.lists(st.integers(1, 90), min_size=4, max_size=4), min_size=2, max_size=4),
    slope=st.sampled_from([-0.3, 0.02, 4.0]),
    offsets=st.lists(st.floats(-5, 5), min_size=4, max_size=4),
)
def test_a_score_that_follows_length_in_each_group_is_found(
    lengths: list[list[int]], slope: float, offsets: list[float]
) -> None:
    """Whatever the prompts' own levels: a correlation of 1 with the slope's sign."""
    values = [[offset + slope * length for length in own] for own, offset in zip(lengths, offsets, strict=False)]
    scores = make_scores(
        [[0.0, 0.0]] * len(lengths), [[[v, -v] for v in own] for own in values], [[True] * 4] * len(lengths)
    )
    found = correlations(scores, lengths)
    if all(len(set(own)) == 1 for own in lengths):
        assert found == {}
    else:
        sign = math.copysign(1, slope)
        assert found == {"perception": pytest.approx(sign, abs=1e-3), "reasoning": pytest.approx(-sign, abs=1e-3)}


def test_expert_load_by_hand() -> None:
    probability_LCE = torch.tensor([[[3.0, 1.0], [1.0, 1.0], [0.0, 6.0]], [[1.0, 3.0], [2.0, 0.0], [0.0, 6.0]]])
    # Reasoning cannot reach the first expert: it has no load there, not one of 0.
    reach_CE = torch.tensor([[True, True], [True, True], [False, True]])
    metrics = StepMetrics(expert_loads(reach_CE))
    add_expert_load(Usage(torch.tensor([4.0, 2.0, 6.0]), torch.zeros(2, 3, 2), probability_LCE), reach_CE, metrics)
    assert metrics.result() == {
        "expert_load/prompt_0": 0.5,
        "expert_load/prompt_1": 0.5,
        "expert_load/perception_0": 0.75,
        "expert_load/perception_1": 0.25,
        "expert_load/reasoning_1": 1.0,
    }


def shaped(grid: list[list[int]] | None, value: float) -> Prompt:
    """A prompt about images of ``grid``, all pixels ``value`` but the first."""
    prompt = Prompt("rows:1", "", (1,), (1,), torch.zeros(3, 1, dtype=torch.long))
    if grid is None:
        return prompt
    sizes = torch.tensor(grid)
    pixels = torch.full((int(sizes.prod(-1).sum()), 2), float(value))
    pixels[0, 0] += 1
    return replace(prompt, pixel_values=pixels, image_grid=sizes)


def test_images_are_swapped_among_equal_sizes() -> None:
    wide, tall = [[1, 2, 4]], [[1, 4, 2]]
    prompts = [shaped(wide, 0), shaped(tall, 10), shaped(wide, 2), shaped(None, 0), shaped(wide, 3), shaped(wide + wide, 4)]
    swapped = swap_images(prompts)
    # 0 <- 4 <- 2 <- 0 are of one size. 1 and 5 have no other of theirs, and as many pixels do not make a size.
    for own, other in ((0, 4), (2, 0), (4, 2), (1, 1), (5, 5)):
        assert torch.equal(swapped[own].pixel_values, prompts[other].pixel_values)
        assert swapped[own].image_grid is prompts[own].image_grid
        assert swapped[own].input_ids is prompts[own].input_ids
    assert swapped[3] is prompts[3]


def test_no_image_is_shown_whose_teacher_is_the_negative() -> None:
    wide = [[1, 2, 4]]
    prompts = [replace(shaped(wide, value), teacher=name) for value, name in ((0, "a"), (2, "b"), (3, "c"))]
    swapped = swap_images(prompts, [["c"], [], ["a", "b"]])
    # Before 0 comes 2, passed over, then 1. Before 1 comes 0. Both others of 2 are passed over: it keeps its own.
    for own, other in ((0, 1), (1, 0), (2, 2)):
        assert torch.equal(swapped[own].pixel_values, prompts[other].pixel_values)


def test_a_blank_image_is_its_mean() -> None:
    prompts = [shaped([[1, 2, 2]], 3), shaped(None, 0)]
    blank = blank_images(prompts)
    # Eight values of 3, and one of them 4: 3.125.
    assert blank[0].pixel_values.tolist() == [[3.125, 3.125]] * 4
    assert blank[0].image_grid is prompts[0].image_grid
    assert blank[1] is prompts[1]


def test_image_effect_by_hand() -> None:
    """Three prompts, the second without an image: it counts nowhere."""
    prompts = [shaped([[1, 2, 2]], 0), shaped(None, 0), shaped([[1, 2, 2]], 1)]
    valid_PG = [[True, True], [True, True], [True, False]]
    scores = make_scores(
        [[2.0, 0.0], [9.0, 9.0], [1.0, 0.0]],
        [[[1.0, 5.0], [3.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]], [[0.5, 5.0], [0.0, 0.0]]],
        valid_PG,
    )
    altered = make_scores(
        [[-1.0, 8.0], [0.0, 0.0], [1.0, 8.0]],
        [[[0.0, 0.0], [-2.0, 0.0]], [[9.0, 9.0], [9.0, 9.0]], [[2.0, 0.0], [0.0, 0.0]]],
        valid_PG,
    )
    # Other prompts' teachers under each: one each.
    others = make_scores(scores.teacher_PK.tolist(), [[[1.5, 0.0]], [[9.0, 0.0]], [[0.0, 0.0]]], [[True]] * 3)
    altered_others = make_scores(altered.teacher_PK.tolist(), [[[1.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]], [[True]] * 3)
    metrics = StepMetrics(image_effects("swap"))
    add_image_effect(prompts, swap_images(prompts), (scores, others), (altered, altered_others), "swap", metrics)
    assert metrics.result() == {
        # 2 > -1 is right, 1 = 1 is half right.
        "image/swap_preference": 0.75,
        "image/swap_score_drop": pytest.approx((3 + 0) / 2),
        # Own images: 2 > 1, 2 < 3, 1 > 0.5. Altered: -1 < 0, -1 > -2, 1 < 2.
        "image/swap_accuracy_drop": pytest.approx(2 / 3 - 1 / 3),
        # Own images: 2 > 1.5, 1 > 0. Altered: -1 < 1, and 1 = 1 is half right.
        "image/swap_in_batch_accuracy_drop": pytest.approx(1 - 0.25),
    }


def test_without_images_there_is_no_effect() -> None:
    scores = make_scores([[1.0, 1.0]], [[[0.0, 0.0]]], [[True]])
    both, metrics = (scores, scores), StepMetrics(image_effects("blank", "swap"))
    add_image_effect([shaped(None, 0)], blank_images([shaped(None, 0)]), both, both, "blank", metrics)
    assert metrics.result() == {}
    # Nor where the only image of its size is swapped with itself.
    add_image_effect([lone := shaped([[1, 2, 2]], 0)], swap_images([lone]), both, both, "swap", metrics)
    assert metrics.result() == {}


def test_the_same_image_is_no_preference_on_a_real_discriminator(
    prompts: list[Prompt], encoder: PromptEncoder, discriminator: Scorer
) -> None:
    """Scores repeat, so a copy of the image is a tie; a swapped one is none."""

    def scores_of(shown: list[Prompt]) -> tuple[Scores, Scores]:
        scoring = make_scoring_batch(shown, [[prompts[0].teacher]] * len(shown), encoder.tokenizer, discriminator.reading)
        scores = arrange(score(discriminator, scoring, [(pack(scoring.groups), False)]).score_N, scoring)
        return scores, scores

    scores, metrics = scores_of(prompts), StepMetrics(image_effects("same", "swap"))
    copies = [replace(prompt, pixel_values=prompt.pixel_values.clone()) for prompt in prompts]
    swapped = swap_images(prompts)
    add_image_effect(prompts, copies, scores, scores_of(copies), "same", metrics)
    add_image_effect(prompts, swapped, scores, scores_of(swapped), "swap", metrics)
    result = metrics.result()
    assert (result["image/same_preference"], result["image/same_score_drop"]) == (0.5, 0.0)
    assert result["image/swap_preference"] in {hits / 6 for hits in range(7)}
    assert result["image/swap_score_drop"] != 0
