"""The ablation that cannot look: nothing of an image reaches its scores."""

from dataclasses import replace

import pytest
import torch

from prism_pl.data.conversation import PromptEncoder, PromptRow
from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer, TextOnlyDiscriminator
from prism_pl.discriminators.reading import Reading
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.game import make_scoring_batch, score
from prism_pl.model.backbone import hidden_states
from prism_pl.model.packing import make_groups, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt

VISION = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")


@pytest.fixture(scope="module")
def blind(embedded: object) -> Scorer:
    return TextOnlyDiscriminator().build(EMBEDDED_NAME, "test").eval()


def scores(scorer: Scorer, prompts: list[Prompt], encoder: PromptEncoder) -> torch.Tensor:
    """Of every teacher, and of the first prompt's teacher as each prompt's response."""
    scoring = make_scoring_batch(prompts, [[prompts[0].teacher]] * len(prompts), encoder.tokenizer, scorer.reading)
    return score(scorer, scoring, ((pack(batch), False) for batch in micro_batches(scoring.groups, 4096))).score_N


def test_pixels_change_nothing_at_all(
    blind: Scorer, discriminator: Scorer, prompts: list[Prompt], encoder: PromptEncoder
) -> None:
    generator = torch.Generator().manual_seed(0)
    altered = [
        replace(prompt, pixel_values=torch.randn(prompt.pixel_values.shape, generator=generator)) for prompt in prompts
    ]
    assert torch.equal(scores(blind, altered, encoder), scores(blind, prompts, encoder))
    # The default with the same weights looks.
    assert (scores(discriminator, altered, encoder) - scores(discriminator, prompts, encoder)).abs().max() > 1e-3


def test_the_prompt_is_the_one_that_a_row_without_the_image_has(
    blind: Scorer, prompts: list[Prompt], mixed_prompts: list[Prompt], encoder: PromptEncoder
) -> None:
    """No placeholder is left: ids and positions are those of the same turns, encoded without an image."""
    hidden = set(encoder.tokenizer.convert_tokens_to_ids(list(VISION)))
    assert len(hidden) == 3
    for prompt in (prompts[0], mixed_prompts[0], mixed_prompts[4]):
        assert hidden <= set(prompt.input_ids)
        shown = blind.reading.show(prompt)
        system = {"role": "system", "content": "Caption, think, answer."}
        row = PromptRow("rows:1", (system, {"role": "user", "content": prompt.question}), ())
        (plain,) = encoder.encode([row])
        assert shown.input_ids == plain.input_ids
        assert not hidden & set(shown.input_ids)
        assert torch.equal(shown.positions_3T, plain.positions_3T)
        assert shown.pixel_values is None
        assert shown.image_grid is None
    # A prompt without an image, and any prompt of a discriminator that looks, stays the same object.
    assert blind.reading.show(mixed_prompts[3]) is mixed_prompts[3]
    assert Reading().show(prompts[0]) is prompts[0]


def test_it_starts_as_the_dense_model_without_the_image(policy: Policy, blind: Scorer, mixed_prompts: list[Prompt]) -> None:
    noiseless = TextOnlyDiscriminator(noise=0.0, readout="last").build(EMBEDDED_NAME, "test").eval()
    shown = [blind.reading.show(prompt) for prompt in mixed_prompts]
    packed = pack(make_groups(shown, [[(5, 6), (7,)]] * 5))
    assert packed.pixel_values is None
    with torch.no_grad():
        hidden_NH = hidden_states(policy.vlm.model, packed)
        score_B, _ = noiseless(packed, torch.arange(10) % 2)
    expected_BK = hidden_NH[packed.last_B] @ noiseless.head.weight.detach().T
    torch.testing.assert_close(score_B, expected_BK[torch.arange(10), torch.arange(10) % 2], atol=1e-4, rtol=0)


def test_it_is_as_large_as_the_default_and_its_eye_is_frozen(blind: Scorer, discriminator: Scorer) -> None:
    assert all(torch.equal(tensor, blind.state_dict()[name]) for name, tensor in discriminator.state_dict().items())
    assert blind.routing.reach_CE.tolist() == discriminator.routing.reach_CE.tolist()
    frozen = {name for name, parameter in blind.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in blind.named_parameters() if name.startswith("model.visual.")} != set()
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


def test_its_experts_and_heads_are_the_defaults() -> None:
    assert TextOnlyDiscriminator().reach() == DedicatedExpertsDiscriminator().reach()
    assert TextOnlyDiscriminator().record()["sees_images"] is False
