"""The adversarial game: who is judged, the advantages and the discriminator's loss, by hand and on a real discriminator."""

from dataclasses import replace

import pytest
import torch

from prism_pl.conversation import PromptEncoder
from prism_pl.discriminator import MixtureDiscriminator
from prism_pl.errors import UserError
from prism_pl.game import Scores, Trial, adversarial_advantages, arrange, discriminator_loss, make_trial
from prism_pl.packing import micro_batches, pack
from prism_pl.segments import parse_response, segment_ids
from prism_pl.types import Prompt

MALFORMED = "<caption>c</caption><think>t</think>"


def respond(caption: str, think: str = "One step.", answer: str = "7") -> str:
    return f"<caption>{caption}</caption><think>{think}</think><answer>{answer}</answer>"


def make_scores(policy_GK: list[list[float]], valid_G: list[bool], teacher_K: tuple[float, float] = (0, 0)) -> Scores:
    """One group; the scores of malformed responses are 0, as ``arrange`` leaves them."""
    return Scores(torch.tensor([teacher_K]).float(), torch.tensor([policy_GK]).float(), torch.tensor([valid_G]))


@torch.no_grad()
def score(discriminator: MixtureDiscriminator, trial: Trial, max_tokens: int = 100_000) -> torch.Tensor:
    score_N = torch.full((len(trial.expert_N),), torch.nan)
    for batch in micro_batches(trial.groups, max_tokens):
        packed = pack(batch)
        score_N[packed.order_B], _ = discriminator(packed, trial.expert_N[packed.order_B])
    assert not score_N.isnan().any()
    return score_N


# Perception 1, 2, 3: mean 2, unbiased std 1, so -1, 0, 1. Reasoning 2, 4, 0: mean 2, std 2, so 0, 1, -1.
THREE = [[1.0, 2.0], [2.0, 4.0], [3.0, 0.0]]


@pytest.mark.parametrize(
    ("alpha", "expected_G"),
    [(1.0, [-1.0, 0.0, 1.0]), (0.0, [0.0, 1.0, -1.0]), (0.5, [-0.5, 0.5, 0.0]), (0.25, [-0.25, 0.75, -0.5])],
)
def test_advantages_by_hand(alpha: float, expected_G: list[float]) -> None:
    whole = adversarial_advantages(make_scores(THREE, [True] * 3), alpha, 1.5)
    torch.testing.assert_close(whole, torch.tensor([expected_G]))
    # A malformed response takes the penalty and shifts nobody, wherever it stands.
    with_malformed = make_scores([THREE[0], [0.0, 0.0], *THREE[1:]], [True, False, True, True])
    expected = [expected_G[0], -1.5, *expected_G[1:]]
    torch.testing.assert_close(adversarial_advantages(with_malformed, alpha, 1.5), torch.tensor([expected]))


def test_groups_are_normalised_apart() -> None:
    # The second group has perception 10, 30, 20: mean 20, std 10, so -1, 1, 0; equal reasoning adds 0.
    both = Scores(
        torch.zeros(2, 2),
        torch.tensor([THREE, [[10.0, 5.0], [30.0, 5.0], [20.0, 5.0]]]),
        torch.ones(2, 3, dtype=torch.bool),
    )
    expected_PG = torch.tensor([[-0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    torch.testing.assert_close(adversarial_advantages(both, 0.5, 1.0), expected_PG)


def test_advantages_do_not_depend_on_offset_and_scale_of_an_expert() -> None:
    moved = [[100 + 3 * perception, reasoning - 7] for perception, reasoning in THREE]
    expected = adversarial_advantages(make_scores(THREE, [True] * 3), 0.5, 1.0)
    actual = adversarial_advantages(make_scores(moved, [True] * 3), 0.5, 1.0)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_all_malformed() -> None:
    scores = make_scores([[0.0, 0.0]] * 3, [False] * 3)
    assert adversarial_advantages(scores, 0.5, 2.0).tolist() == [[-2.0, -2.0, -2.0]]


def test_a_single_valid_response_carries_no_preference() -> None:
    scores = make_scores([[0.0, 0.0], [5.0, -3.0], [0.0, 0.0]], [False, True, False])
    assert adversarial_advantages(scores, 0.5, 1.0).tolist() == [[-1.0, 0.0, -1.0]]


def test_equal_scores_carry_no_preference() -> None:
    # 0.1 has no exact mean in fp32, and 1e-6 is less than the noise of two micro-batches: both count as equal.
    for perception in ([0.1] * 3, [0.1, 0.1 + 1e-6, 0.1 - 1e-6]):
        scores = make_scores([[value, value] for value in perception], [True] * 3)
        assert adversarial_advantages(scores, 0.5, 1.0).tolist() == [[0.0, 0.0, 0.0]]
    # One expert without preference leaves the other's.
    scores = make_scores([[0.1, 2.0], [0.1, 4.0], [0.1, 0.0]], [True] * 3)
    torch.testing.assert_close(adversarial_advantages(scores, 0.5, 1.0), torch.tensor([[0.0, 0.5, -0.5]]))


def two_pairs() -> Scores:
    return make_scores([[0.0, 0.0], [1.0, 2.0]], [True, True], teacher_K=(1.0, 0.0))


def test_discriminator_loss_by_hand() -> None:
    # Margins: 1 - 0 = 1 and 0 - 0 = 0; 1 - 1 = 0 and 0 - 2 = -2. log(1 + e^-m): 0.313262, 0.693147, 0.693147, 2.126928.
    # Sum 3.826484 over 2 pairs: 1.913242.
    assert two_pairs().margin_MK.tolist() == [[1.0, 0.0], [0.0, -2.0]]
    assert discriminator_loss(two_pairs(), 2, 6, 0.0).item() == pytest.approx(1.913242, abs=1e-6)
    # Squares of the six scores: 1 + 0 + 0 + 0 + 1 + 4 = 6, mean 1: a penalty of 0.01 adds 0.01.
    assert discriminator_loss(two_pairs(), 2, 6, 0.01).item() == pytest.approx(1.923242, abs=1e-6)
    # As one rank's share of 8 pairs and 12 segments: 3.826484 / 8 + 0.5 * 6 / 12 = 0.4783105 + 0.25.
    assert discriminator_loss(two_pairs(), 8, 12, 0.5).item() == pytest.approx(0.7283105, abs=1e-6)


def test_discriminator_loss_skips_malformed_responses() -> None:
    scores = make_scores([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]], [True, False, True], teacher_K=(1.0, 0.0))
    assert discriminator_loss(scores, 2, 6, 0.01).item() == pytest.approx(1.923242, abs=1e-6)
    # Nobody is well-formed: the preference is 0, not NaN; the teacher's score is still drawn to 0: 0.5 * 1 / 2.
    scores = make_scores([[0.0, 0.0]], [False], teacher_K=(1.0, 0.0))
    assert discriminator_loss(scores, 0, 2, 0.5).item() == pytest.approx(0.25)


def test_discriminator_loss_gradient_by_hand() -> None:
    scores = make_scores([[0.0, 0.0]], [True], teacher_K=(1.0, 0.0))
    scores.teacher_PK.requires_grad_()
    scores.policy_PGK.requires_grad_()
    gradients = torch.autograd.grad(discriminator_loss(scores, 1, 4, 0.1), (scores.teacher_PK, scores.policy_PGK))
    # -d log sigma(m)/dm = -sigma(-m): -0.268941 at m = 1 and -0.5 at 0; the penalty adds 0.1 * 2 * 1 / 4 = 0.05.
    torch.testing.assert_close(gradients[0], torch.tensor([[-0.218941, -0.5]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[1], torch.tensor([[[0.268941, 0.5]]]), atol=1e-6, rtol=0)


def test_make_trial_numbers_segments_prompt_by_prompt(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[respond("a"), MALFORMED], [respond("b"), respond("c", "Other.", "8")]]
    trial = make_trial(prompts[:2], texts, encoder.tokenizer)
    # First prompt: teacher 0 1, first response 2 3, the second is malformed. Second: teacher 4 5, responses 6 7 and 8 9.
    assert trial.teacher_PK.tolist() == [[0, 1], [4, 5]]
    assert trial.policy_PGK.tolist() == [[[2, 3], [0, 0]], [[6, 7], [8, 9]]]
    assert trial.valid_PG.tolist() == [[True, False], [True, True]]
    assert trial.expert_N.tolist() == [0, 1] * 5
    assert [group.order for group in trial.groups] == [(0, 1, 2, 3), (4, 5, 6, 7, 8, 9)]
    expected = [
        segment
        for text in (prompts[0].teacher, texts[0][0], prompts[1].teacher, *texts[1])
        for segment in segment_ids(parse_response(text), encoder.tokenizer)
    ]
    assert [segment for group in trial.groups for segment in group.segments] == expected


def test_make_trial_names_the_row_without_a_teacher(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    for teacher in (None, MALFORMED):
        with pytest.raises(UserError, match=r"align\.jsonl:3: the teacher's response is missing or malformed"):
            make_trial([replace(prompts[2], teacher=teacher)], [[respond("a")]], encoder.tokenizer)


def test_arrange_by_hand(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[respond("a"), MALFORMED], [respond("b"), respond("c")]]
    trial = make_trial(prompts[:2], texts, encoder.tokenizer)
    scores = arrange(torch.arange(10.0) + 1, trial)
    assert scores.teacher_PK.tolist() == [[1, 2], [5, 6]]
    assert scores.policy_PGK.tolist() == [[[3, 4], [0, 0]], [[7, 8], [9, 10]]]
    # Teacher minus policy of the three valid pairs: 1 - 3, 5 - 7, 5 - 9, and the same for reasoning.
    assert scores.margin_MK.tolist() == [[-2, -2], [-2, -2], [-4, -4]]


def test_scores_do_not_know_the_role(
    prompts: list[Prompt], encoder: PromptEncoder, discriminator: MixtureDiscriminator
) -> None:
    """Teacher and policy swap their texts, the policy's in another layout: each text keeps its score."""
    others = [respond(" - Two digits.\n\n", "\nLeft is 3. ", "3") + "\n", respond("Digits: 4 and 5.")]
    swapped = [replace(prompt, teacher=text) for prompt, text in zip(prompts[:2], others, strict=True)]
    trial = make_trial(prompts[:2], [[text] for text in others], encoder.tokenizer)
    counter_trial = make_trial(swapped, [[f"\n{prompt.teacher} "] for prompt in prompts[:2]], encoder.tokenizer)
    scores = arrange(score(discriminator, trial), trial)
    counter_scores = arrange(score(discriminator, counter_trial), counter_trial)
    torch.testing.assert_close(counter_scores.policy_PGK[:, 0], scores.teacher_PK, atol=1e-5, rtol=0)
    torch.testing.assert_close(counter_scores.teacher_PK, scores.policy_PGK[:, 0], atol=1e-5, rtol=0)
    # The texts themselves differ by more than that, so the equality says something.
    assert scores.margin_MK.abs().min() > 1e-3


def test_a_copy_of_the_teacher_has_no_margin(
    prompts: list[Prompt], encoder: PromptEncoder, discriminator: MixtureDiscriminator
) -> None:
    trial = make_trial(prompts, [[prompt.teacher, respond("x")] for prompt in prompts], encoder.tokenizer)
    margin_PGK = arrange(score(discriminator, trial), trial).margin_MK.reshape(len(prompts), 2, 2)
    assert margin_PGK[:, 0].abs().max() < 1e-5
    assert margin_PGK[:, 1].abs().max() > 1e-2


def test_scores_do_not_depend_on_batch_or_budget(
    mixed_prompts: list[Prompt], encoder: PromptEncoder, discriminator: MixtureDiscriminator
) -> None:
    """Images of different sizes and no image, all in one batch, in small micro-batches, and each prompt alone."""
    judged = [replace(prompt, teacher=respond(f"- Picture {i}.")) for i, prompt in enumerate(mixed_prompts)]
    texts = [[respond("A cat." * (i + 1)), MALFORMED, respond(f"{i}", "Two steps.\nDone.", f"{i}")] for i in range(5)]
    trial = make_trial(judged, texts, encoder.tokenizer)
    whole_N = score(discriminator, trial)
    assert len(micro_batches(trial.groups, 150)) > 5
    torch.testing.assert_close(score(discriminator, trial, 150), whole_N, atol=1e-5, rtol=0)
    alone = [make_trial([prompt], [own], encoder.tokenizer) for prompt, own in zip(judged, texts, strict=True)]
    alone_N = torch.cat([score(discriminator, single) for single in alone])
    torch.testing.assert_close(alone_N, whole_N, atol=1e-5, rtol=0)
    assert whole_N.std() > 1e-2
