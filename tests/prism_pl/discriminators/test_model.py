"""Scores against the plain forward: one prompt, one segment, nothing packed, transformers' own positions and mask."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch

from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.model.packing import Group, PackedBatch, make_groups, micro_batches, pack
from prism_pl.model.shared_prefix import Part, make_layout
from prism_pl.types import Prompt
from tests.plain_forward import plain_hidden, random_segments


@torch.no_grad()
def plain_score(scorer: Scorer, prompt: Prompt, segment: Sequence[int], aspect: int) -> torch.Tensor:
    """By one stock forward call of the backbone on prompt + segment."""
    if scorer.routing is not None:
        scorer.routing.begin(torch.tensor([0] * len(prompt.input_ids) + [1 + aspect] * len(segment)))
    hidden_LH = plain_hidden(scorer.model, prompt, segment)
    seen_H = hidden_LH[-1] if scorer.reading.readout == "last" else hidden_LH[len(prompt.input_ids) :].mean(0)
    return seen_H @ scorer.head.weight[aspect if len(scorer.head.weight) == 2 else 0]


@torch.no_grad()
def score_in_batches(scorer: Scorer, groups: list[Group], max_tokens: int) -> torch.Tensor:
    """The scores of segments that alternate between the aspects."""
    score_N = torch.full((sum(len(group.segments) for group in groups),), torch.nan)
    for batch in micro_batches(groups, max_tokens):
        packed = pack(batch)
        score_N[packed.order_B], _ = scorer(packed, packed.order_B % 2)
    assert not score_N.isnan().any()
    return score_N


def test_scores_equal_the_plain_forward(lively: Scorer, mixed_prompts: list[Prompt]) -> None:
    """Prompts with one image, none and two, four segments each."""
    shown = [lively.reading.show(prompt) for prompt in mixed_prompts]
    segments = random_segments(len(shown), 4)
    score_N = score_in_batches(lively, make_groups(shown, segments), 100_000)
    pairs = [(prompt, segment) for prompt, own in zip(shown, segments, strict=True) for segment in own]
    assert len(pairs) == len(score_N) == 20
    for n, (prompt, segment) in enumerate(pairs):
        expected = plain_score(lively, prompt, segment, n % 2)
        assert score_N[n].item() == pytest.approx(expected.item(), abs=1e-4)
    # Scores differ by far more than the tolerance, and so does the other aspect's view where it has one.
    assert score_N.std() > 0.1
    if lively.routing is not None and len(lively.head.weight) == 2:
        assert abs(plain_score(lively, *pairs[0], 0) - plain_score(lively, *pairs[0], 1)) > 1e-2


def test_a_wrong_mask_or_wrong_positions_would_be_seen(lively: Scorer, mixed_prompts: list[Prompt]) -> None:
    """The equality above has power: breaking the layout moves scores by far more than its 1e-4."""
    shown = [lively.reading.show(prompt) for prompt in mixed_prompts]
    packed = pack(make_groups(shown, random_segments(len(shown), 4)))
    length = len(packed.input_ids_N)
    causal = {"layout": make_layout([Part(0, length)])}
    running = torch.arange(length).expand_as(packed.positions_3N)
    with torch.no_grad():
        right_B, _ = lively(packed, packed.order_B % 2)
        for changed in (causal, {"positions_3N": running}):
            wrong_B, _ = lively(type(packed)(**{**vars(packed), **changed}), packed.order_B % 2)
            assert (wrong_B - right_B).abs().max() > 1e-2


def test_scores_do_not_depend_on_the_batch(lively: Scorer, mixed_prompts: list[Prompt]) -> None:
    """All in one batch, in small micro-batches that split groups, and each prompt alone."""
    shown = [lively.reading.show(prompt) for prompt in mixed_prompts]
    segments = random_segments(len(shown), 4, seed=1)
    groups = make_groups(shown, segments)
    whole_N = score_in_batches(lively, groups, 100_000)
    assert len(micro_batches(groups, 45)) > 5
    torch.testing.assert_close(score_in_batches(lively, groups, 45), whole_N, atol=1e-5, rtol=0)
    alone = [score_in_batches(lively, make_groups([one], [own]), 1000) for one, own in zip(shown, segments, strict=True)]
    torch.testing.assert_close(torch.cat(alone), whole_N, atol=1e-5, rtol=0)


def test_what_stands_in_the_padding_does_not_matter(
    lively: Scorer, mixed_prompts: list[Prompt], aspect_B: torch.Tensor
) -> None:
    shown = [lively.reading.show(prompt) for prompt in mixed_prompts]
    packed = pack(make_groups(shown, [[(5, 6, 7), (8, 9)]] * len(shown)), multiple=128)
    other_ids = torch.where(packed.real_N, packed.input_ids_N, 99)
    assert not torch.equal(other_ids, packed.input_ids_N)
    with torch.no_grad():
        score_B, usage = lively(packed, aspect_B)
        other_B, other = lively(type(packed)(**{**vars(packed), "input_ids_N": other_ids}), aspect_B)
    torch.testing.assert_close(other_B, score_B, atol=1e-6, rtol=0)
    if usage is not None:
        assert torch.equal(other.count_LCE, usage.count_LCE)
        torch.testing.assert_close(other.probability_LCE, usage.probability_LCE)


def test_a_score_is_the_heads_row_times_what_is_read(
    lively: Scorer, packed: PackedBatch, aspect_B: torch.Tensor, score_with_hidden: Callable
) -> None:
    """The last hidden state of a segment or the mean of all, by hand; the prompt's and the neighbour's are left out."""
    score_B, hidden_NH = score_with_hidden(lively, packed, aspect_B)
    weight_KH = lively.head.weight.detach().expand(2, -1)
    expected = []
    for last in packed.last_B[1::2].tolist():
        # A prompt's segments of 3 and 2 tokens stand at the end of its group.
        first_LH, second_LH = hidden_NH[last - 4 : last - 1], hidden_NH[last - 1 : last + 1]
        if lively.reading.readout == "last":
            expected += [first_LH[2] @ weight_KH[0], second_LH[1] @ weight_KH[1]]
        else:
            expected += [first_LH.sum(0) / 3 @ weight_KH[0], second_LH.sum(0) / 2 @ weight_KH[1]]
    torch.testing.assert_close(score_B, torch.stack(expected), atol=1e-5, rtol=0)


def test_a_cut_score_has_no_gradient(discriminator: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    clipped = copy.deepcopy(discriminator)
    with torch.no_grad():
        free_B, _ = clipped(packed, aspect_B)
    limit = float(free_B.abs().median())
    clipped.score_clip = limit
    score_B, _ = clipped(packed, aspect_B)
    torch.testing.assert_close(score_B.detach(), free_B.clamp(-limit, limit))
    outside = free_B.abs() > limit
    assert 0 < int(outside.sum()) < 10
    (gradient_KH,) = torch.autograd.grad((score_B * outside).sum(), clipped.head.weight, retain_graph=True)
    assert gradient_KH.abs().max() == 0
    (gradient_KH,) = torch.autograd.grad(score_B.sum(), clipped.head.weight)
    assert gradient_KH.abs().max() > 0


def test_the_clip_is_an_option() -> None:
    assert DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test").score_clip is None
    assert DedicatedExpertsDiscriminator(score_clip=10.0).build(EMBEDDED_NAME, "test").score_clip == 10.0


def test_noise_is_added_to_the_embeddings_of_segments_alone(
    lively: Scorer, packed: PackedBatch, aspect_B: torch.Tensor
) -> None:
    seen = []
    table = lively.model.language_model.embed_tokens
    language_model = lively.model.language_model
    # What the language model is given: embeddings with images put in, after the noise.
    handle = language_model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["inputs_embeds"].detach()), with_kwargs=True
    )
    with torch.no_grad():
        clean_B, _ = lively(packed, aspect_B)
        seeds = range(len(aspect_B))
        noisy_B, _ = lively(packed, aspect_B, (0.3, seeds))
        again_B, _ = lively(packed, aspect_B, (0.3, seeds))
        other_B, _ = lively(packed, aspect_B, (0.3, [seed + 100 for seed in seeds]))
        after_B, _ = lively(packed, aspect_B)
    handle.remove()
    in_segment_N = packed.segment_N >= 0
    added_NH = (seen[1] - seen[0])[0]
    assert added_NH[~in_segment_N].abs().max() == 0
    # 10 segments of 2 or 3 tokens and 128 features: the standard error of the mean of 10 stds is about 1 %.
    embedded_NH = table(packed.input_ids_N).detach()
    own = [packed.segment_N == index for index in seeds]
    ratio_B = torch.stack([added_NH[own_N].std() / embedded_NH[own_N].std() for own_N in own])
    assert float(ratio_B.mean()) == pytest.approx(0.3, rel=0.06)
    assert torch.equal(again_B, noisy_B)
    assert torch.equal(after_B, clean_B)
    assert (noisy_B - clean_B).abs().min() > 0
    assert (other_B - noisy_B).abs().min() > 0


def test_a_segments_noise_does_not_depend_on_what_is_packed_with_it(
    lively: Scorer, packed: PackedBatch, aspect_B: torch.Tensor, mixed_prompts: list[Prompt]
) -> None:
    with torch.no_grad():
        score_B, _ = lively(packed, aspect_B, (0.3, range(10)))
        for number, prompt in enumerate(mixed_prompts):
            alone = pack(make_groups([prompt], [[(5, 6, 7), (8, 9)]]))
            alone_2, _ = lively(alone, aspect_B[:2], (0.3, (2 * number, 2 * number + 1)))
            assert alone_2.tolist() == pytest.approx(score_B[2 * number : 2 * number + 2].tolist(), abs=1e-3)
