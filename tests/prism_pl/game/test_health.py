"""Every alarm, just off and just on its limit."""

import pytest

from prism_pl.game import HealthLimits, Unreached, diagnose

LIMITS = HealthLimits()
QUIET = {
    "accuracy/perception": 0.99,
    "accuracy/reasoning": 0.99,
    "score_length_correlation/perception": 0.7,
    "score_length_correlation/reasoning": -0.7,
    "expert_load/perception_0": 0.9,
    "expert_load/perception_1": 0.1,
    "expert_load/perception_2": 0.0,
    "expert_load/reasoning_2": 0.5,
    "expert_load/reasoning_3": 0.5,
    "policy/entropy": 0.05,
    "image/swap_preference": 0.55,
    "advantage/zero_std_groups": 0.5,
}


def names(metrics: dict[str, float], limits: HealthLimits = LIMITS) -> list[str]:
    return [alarm.name for alarm in diagnose(metrics, limits)]


def test_nothing_is_said_at_the_limits_and_of_what_was_not_measured() -> None:
    assert names(QUIET) == []
    assert names({}) == []


@pytest.mark.parametrize(
    ("metric", "value", "name", "said"),
    [
        ("accuracy/perception", 0.995, "saturation_perception", "in 99.5% of the pairs"),
        ("accuracy/reasoning", 1.0, "saturation_reasoning", "in 100.0% of the pairs"),
        ("score_length_correlation/perception", 0.71, "length_perception", "correlation +0.71"),
        ("score_length_correlation/reasoning", -0.71, "length_reasoning", "correlation -0.71"),
        ("expert_load/perception_0", 0.91, "experts_perception", "takes 91% of the perception tokens"),
        ("expert_load/reasoning_3", 0.95, "experts_reasoning", "takes 95% of the reasoning tokens"),
        ("policy/entropy", 0.049, "policy_collapse", "entropy is 0.049 nats"),
        ("image/swap_preference", 0.54, "image_ignored", "in only 54% of the cases"),
        ("advantage/zero_std_groups", 0.51, "zero_std_groups", "51% of the groups"),
    ],
)
def test_each_alarm_beyond_its_limit(metric: str, value: float, name: str, said: str) -> None:
    (alarm,) = diagnose(QUIET | {metric: value}, LIMITS)
    assert alarm.name == name
    assert said in alarm.sentence


def test_a_flaw_that_all_responses_share_is_named_only_where_the_score_is_saturated() -> None:
    # Even the best response of each group lacks 5.2 of a gap of 6.5: just 0.8 of it, the limit.
    shared = {"accuracy/perception": 1.0, "reward_gap/perception": 6.5, "unreached_gap/perception": 5.3}
    alarms = {alarm.name: alarm.sentence for alarm in diagnose(shared, LIMITS)}
    assert list(alarms) == ["shared_flaw_perception", "saturation_perception"]
    assert "even the best of each group lacks 5.30 of the gap of 6.50" in alarms["shared_flaw_perception"]
    assert names(shared | {"unreached_gap/perception": 5.2}) == ["saturation_perception"]
    assert names(shared | {"accuracy/perception": 0.9}) == []
    # A best response that is ahead of the teacher, and a gap of the other sign.
    assert names(shared | {"unreached_gap/perception": -0.1}) == ["saturation_perception"]
    assert names(shared | {"reward_gap/perception": -6.5}) == ["saturation_perception"]


def game(gap: float, unreached: float) -> dict[str, float]:
    return {"reward_gap/reasoning": gap, "unreached_gap/reasoning": unreached}


def test_a_gap_that_was_reached_and_is_lost_again_is_named_before_the_score_is_saturated() -> None:
    seen, said = Unreached(), []

    def follow(gap: float, unreached: float) -> None:
        seen.update(game(gap, unreached))
        said.append([alarm.name for alarm in diagnose(game(gap, unreached), LIMITS, seen)])

    # The start: no group has what the teacher has, and none ever had.
    for _ in range(5):
        follow(6.0, 4.2)
    assert seen.average == {"reasoning": pytest.approx(0.7)}
    # 0.7 x 0.8^5 = 0.229; in between the part falls through 0.56, 0.45, 0.36 and 0.29.
    for _ in range(5):
        follow(2.0, -1.0)
    assert seen.least == {"reasoning": pytest.approx(0.7 * 0.8**5)}
    # 0.8 x 0.229 + 0.2 x 0.9 = 0.364, then 0.471, then 0.557.
    for _ in range(3):
        follow(3.0, 2.7)
    assert seen.average == {"reasoning": pytest.approx(0.9 - 0.8**3 * (0.9 - 0.7 * 0.8**5))}
    assert said == [[]] * 12 + [["shared_flaw_reasoning"]]
    # Nor is anything said of a step that has no gap.
    assert diagnose({}, LIMITS, seen) == []


def test_a_small_gap_and_a_stage_without_a_game_change_nothing() -> None:
    seen = Unreached()
    seen.update({"policy/entropy": 1.0})
    assert seen == Unreached()
    seen.update(game(1.0, 0.9))
    seen.update(game(-3.0, -2.0))
    assert seen.average == seen.least == {"reasoning": 0.0}


def test_a_single_expert_takes_all_without_an_alarm() -> None:
    """A kind that can reach only one expert is not collapsing; where it could reach another, it is."""
    assert names({"expert_load/perception_0": 1.0}) == []
    assert names({"expert_load/perception_0": 1.0, "expert_load/perception_1": 0.0}) == ["experts_perception"]
    # Prompt tokens belong to no expert.
    assert names({"expert_load/prompt_0": 0.99, "expert_load/prompt_1": 0.01}) == []


def test_limits_are_options() -> None:
    strict = HealthLimits(saturation=0.5, collapse=1.0, expert_load=0.4, length=0.1, image=0.9, zero_std_groups=0.1)
    assert names(QUIET, strict) == [
        "saturation_perception", "length_perception", "experts_perception",
        "saturation_reasoning", "length_reasoning", "experts_reasoning",
        "policy_collapse", "image_ignored", "zero_std_groups",
    ]  # fmt: skip
