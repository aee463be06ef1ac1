"""A fresh discriminator learns to tell styles apart, and cannot tell roles apart."""

import random
from dataclasses import replace

import pytest
import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.embedded.demonstrations import QUESTIONS, Scene, public_response
from prism_pl.game import ScoringBatch, TwoSampleOptions, arrange, make_scoring_batch, score, two_sample_accuracy
from prism_pl.model.packing import micro_batches, pack
from prism_pl.segments import parse_response
from prism_pl.types import Prompt

ROWS = 48
OPTIONS = TwoSampleOptions(steps=5, learning_rate=1e-3, max_tokens=4096)


@pytest.fixture(scope="module")
def rows(encoder: PromptEncoder) -> list[Prompt]:
    data = DataFile.open(f"{EMBEDDED_NAME}/align.jsonl", "test")
    return encoder.encode([data.prompt_row(index) for index in range(ROWS)])


def in_the_policys_layout(text: str) -> str:
    """The same sections with other white space around the tags."""
    loose = "\n " + text.replace("<caption>\n", "<caption> ").replace("\n</", "\t\n</").replace(">\n<", "> \n\n <") + " \n"
    assert loose != text
    assert parse_response(loose) == parse_response(text)
    return loose


def training_and_testing(
    rows: list[Prompt], texts: list[str], scorer: Scorer, encoder: PromptEncoder, last: int | None
) -> list[ScoringBatch]:
    """The pairs to train on and those to test on."""
    halves = (slice(ROWS // 2), slice(ROWS // 2, None))
    return [
        make_scoring_batch(rows[half], [[text] for text in texts[half]], encoder.tokenizer, scorer.reading, last)
        for half in halves
    ]


def margins(scorer: Scorer, scoring: ScoringBatch) -> torch.Tensor:
    packed = ((pack(batch), False) for batch in micro_batches(scoring.groups, OPTIONS.max_tokens))
    return arrange(score(scorer, scoring, packed).score_N, scoring).margin_MK


@pytest.fixture(scope="module", params=["mean", "last"])
def scored_by_the_end(
    request: pytest.FixtureRequest, rows: list[Prompt], encoder: PromptEncoder
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Accuracy and margins of a discriminator that learnt from the last four tokens, and its margins on whole segments.

    The policy says other rows' teachers' words in its own layout: the released code leaked the role there.
    """
    texts = [in_the_policys_layout(rows[(p + 7) % ROWS].teacher) for p in range(ROWS)]
    scorer = DedicatedExpertsDiscriminator(readout=request.param).build(EMBEDDED_NAME, "test")
    training, testing = training_and_testing(rows, texts, scorer, encoder, 4)
    found_MK = two_sample_accuracy(scorer, training, testing, OPTIONS)
    return found_MK, margins(scorer, testing), margins(scorer, training_and_testing(rows, texts, scorer, encoder, None)[1])


def test_the_ends_of_segments_have_no_margin(scored_by_the_end: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """Teacher and policy end in the same tokens at the same positions: every pair is a tie, up to the last bit."""
    _, end_MK, whole_MK = scored_by_the_end
    assert end_MK.shape == (ROWS // 2, 2)
    assert end_MK.abs().max() < 1e-5
    # The whole segments of the same pairs are no ties to it.
    assert whole_MK.abs().max() > 1e-2


def test_the_ends_of_segments_do_not_tell_the_roles_apart(
    scored_by_the_end: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    assert scored_by_the_end[0].mean(0).tolist() == [0.5, 0.5]


def test_styles_are_told_apart_after_a_few_steps(rows: list[Prompt], encoder: PromptEncoder) -> None:
    """The teacher's dense captions and steps against the public annotator's one item and one step, on other rows."""
    rng = random.Random(0)
    digits = [(rng.randrange(10), rng.randrange(10), rng.randrange(10)) for _ in rows]
    texts = [public_response(rng.choice(list(QUESTIONS)), Scene(seen, (True, True, True)), rng) for seen in digits]
    scorer = DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test")
    training, testing = training_and_testing(rows, texts, scorer, encoder, None)
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    found_MK = two_sample_accuracy(scorer, training, testing, OPTIONS)
    assert (found_MK.mean(0) > 0.8).all()
    assert (margins(scorer, testing).mean(0) > 0.1).all()
    # It is the pairs to test on that count: with the roles exchanged in them it is wrong about nearly all.
    half = slice(ROWS // 2, None)
    exchanged = [replace(row, teacher=text) for row, text in zip(rows[half], texts[half], strict=True)]
    said = [[row.teacher] for row in rows[half]]
    wrong_roles = make_scoring_batch(exchanged, said, encoder.tokenizer, scorer.reading)
    assert (two_sample_accuracy(scorer, training, wrong_roles, TwoSampleOptions(steps=0)).mean(0) < 0.2).all()
    # It is trained in place, and comes back in eval mode without gradients.
    assert not torch.equal(before["head.weight"], scorer.head.weight)
    assert not scorer.training
    assert all(parameter.grad is None for parameter in scorer.parameters())


def test_no_step_is_no_training(rows: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [row.teacher for row in rows]
    scorer = DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test")
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    training, testing = training_and_testing(rows, texts, scorer, encoder, None)
    two_sample_accuracy(scorer, training, testing, TwoSampleOptions(steps=0))
    assert all(torch.equal(tensor, scorer.state_dict()[name]) for name, tensor in before.items())
