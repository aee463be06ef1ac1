"""Alarms in words: what a step's metrics say about the game's health."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prism_pl.ranges import NonNegativeFloat, Share
from prism_pl.types import ASPECTS

_KEPT = 0.8
_SMALL_GAP = 1.0
"""In logits. Of a smaller gap any part is noise."""


@dataclass(frozen=True, kw_only=True)
class HealthLimits:
    """Where an alarm starts."""

    saturation: Share = 0.99
    """Pair accuracy above which the policy has little to learn from."""
    collapse: NonNegativeFloat = 0.05
    """Policy entropy in nats a token below which it hardly explores."""
    expert_load: Share = 0.9
    """Router probability that one expert may take of a kind's tokens, where they can reach several."""
    length: Share = 0.7
    """Size of the correlation of score with length."""
    image: Share = 0.55
    """Preference for the teacher's own image over another's: 0.5 is blind."""
    zero_std_groups: Share = 0.5
    """Share of groups without any signal."""
    shared_flaw: Share = 0.8
    """Part of the reward gap that even the best response of each group has, while ``saturation`` holds."""
    shared_flaw_again: Share = 0.5
    """The same part, averaged over some five updates, after it had been less than half of this."""


@dataclass
class Unreached:
    """The part of each aspect's reward gap that even the best response of a group has, over the updates of a run.

    It is large at the start, when the policy is the teacher's equal in nothing. Once the best responses have reached the
    teacher, it grows again only when a whole group loses what the discriminator looks for.
    """

    average: dict[str, float] = field(default_factory=dict)
    """Exponential moving average by aspect, with weight ``1 - _KEPT`` for the last update."""
    least: dict[str, float] = field(default_factory=dict)
    """The least average so far."""

    def update(self, metrics: Mapping[str, float]) -> None:
        """Takes in an update's metrics; those of a stage without a game change nothing."""
        for aspect in ASPECTS:
            gap, unreached = metrics.get(f"reward_gap/{aspect}"), metrics.get(f"unreached_gap/{aspect}")
            if gap is None or unreached is None:
                continue
            part = min(max(unreached / gap, 0.0), 1.0) if gap > _SMALL_GAP else 0.0
            self.average[aspect] = _KEPT * self.average.get(aspect, part) + (1 - _KEPT) * part
            self.least[aspect] = min(self.least.get(aspect, 1.0), self.average[aspect])

    def is_back(self, aspect: str, limit: float) -> bool:
        """Whether the average is above ``limit`` after it was below half of it."""
        return self.average.get(aspect, 0.0) > limit and self.least[aspect] < limit / 2


@dataclass(frozen=True)
class Alarm:
    """One finding."""

    name: str
    sentence: str


def diagnose(metrics: Mapping[str, float], limits: HealthLimits, before: Unreached | None = None) -> list[Alarm]:
    """The alarms that a step's metrics raise after what was ``before``; a metric that is absent raises none."""
    alarms, before = [], before or Unreached()

    def alarm(name: str, sentence: str) -> None:
        alarms.append(Alarm(name, sentence))

    for aspect in ASPECTS:
        pairs = metrics.get(f"accuracy/{aspect}")
        gap, unreached = metrics.get(f"reward_gap/{aspect}"), metrics.get(f"unreached_gap/{aspect}")
        saturated = pairs is not None and pairs > limits.saturation
        # A step without a well-formed response has neither.
        if (
            gap is not None
            and unreached is not None
            and (
                (saturated and unreached > limits.shared_flaw * gap > 0) or before.is_back(aspect, limits.shared_flaw_again)
            )
        ):
            alarm(
                f"shared_flaw_{aspect}",
                f"All {aspect} segments of a group share what the discriminator rejects: even the best of each group "
                f"lacks {unreached:.2f} of the gap of {gap:.2f}, so no advantage leads back. Look for what the teacher "
                f"has and none of them; show the discriminator past responses (model.replay), or go back to a "
                f"checkpoint before the gap rose.",
            )
        if saturated:
            alarm(
                f"saturation_{aspect}",
                f"The {aspect} score tells teacher from policy in {pairs:.1%} of the pairs: it may carry style "
                f"only. Lower the discriminator's rate or update it less often (model.cadence.discriminator_every).",
            )
        correlation = metrics.get(f"score_length_correlation/{aspect}")
        if correlation is not None and abs(correlation) > limits.length:
            alarm(
                f"length_{aspect}",
                f"The {aspect} score follows the response's length (correlation {correlation:+.2f}): the policy can gain "
                f"by length alone. Compare response/tokens with the teacher's.",
            )
        loads = [value for key, value in metrics.items() if key.startswith(f"expert_load/{aspect}_")]
        if len(loads) > 1 and max(loads) > limits.expert_load:
            alarm(
                f"experts_{aspect}",
                f"One expert takes {max(loads):.0%} of the {aspect} tokens: the mixture is collapsing. "
                f"Raise model.discriminator_loss.balance_weight.",
            )
    entropy = metrics.get("policy/entropy")
    if entropy is not None and entropy < limits.collapse:
        alarm(
            "policy_collapse",
            f"The policy's entropy is {entropy:.3f} nats a token: its responses are nearly the same. Lower its rate.",
        )
    preference = metrics.get("image/swap_preference")
    if preference is not None and preference < limits.image:
        alarm(
            "image_ignored",
            f"The perception score prefers the true image in only {preference:.0%} of the cases (50 % is blind). "
            f"Train it with model.discriminator_loss.in_batch_weight, in warm-up already.",
        )
    dead = metrics.get("advantage/zero_std_groups")
    if dead is not None and dead > limits.zero_std_groups:
        alarm("zero_std_groups", f"{dead:.0%} of the groups carry no signal: scores are equal or responses malformed.")
    return alarms
