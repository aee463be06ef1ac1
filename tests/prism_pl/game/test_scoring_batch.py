"""What is scored: segments of teacher and policy take one path, and a text's score does not know its role."""

from dataclasses import replace

import pytest
import torch

from prism_pl import game
from prism_pl.data.conversation import PromptEncoder
from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.discriminators.reading import Reading
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.game import Scores, ScoringBatch, arrange, make_scoring_batch
from prism_pl.model.packing import FILLER, micro_batches, pack
from prism_pl.segments import parse_response, segment_ids
from prism_pl.types import Prompt
from tests.responses import MALFORMED, respond


def score(scorer: Scorer, scoring: ScoringBatch, max_tokens: int = 100_000) -> torch.Tensor:
    packed = ((pack(batch), False) for batch in micro_batches(scoring.groups, max_tokens))
    return game.score(scorer, scoring, packed).score_N


def test_segments_are_numbered_prompt_by_prompt(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[respond("a"), MALFORMED], [respond("b"), respond("c", "Other.", "8")]]
    scoring = make_scoring_batch(prompts[:2], texts, encoder.tokenizer, Reading())
    # First prompt: teacher 0 1, first response 2 3, the second is malformed. Second: teacher 4 5, responses 6 7 and 8 9.
    assert scoring.teacher_PK.tolist() == [[0, 1], [4, 5]]
    assert scoring.policy_PGK.tolist() == [[[2, 3], [0, 0]], [[6, 7], [8, 9]]]
    assert scoring.valid_PG.tolist() == [[True, False], [True, True]]
    assert scoring.aspect_N.tolist() == [0, 1] * 5
    assert [group.order for group in scoring.groups] == [(0, 1, 2, 3), (4, 5, 6, 7, 8, 9)]
    expected = [
        segment
        for text in (prompts[0].teacher, texts[0][0], prompts[1].teacher, *texts[1])
        for segment in segment_ids(parse_response(text), encoder.tokenizer)
    ]
    assert [segment for group in scoring.groups for segment in group.segments] == expected


def test_a_prompt_may_have_fewer_responses(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[], [respond("b"), MALFORMED, respond("c")], [respond("d")]]
    scoring = make_scoring_batch(prompts[:3], texts, encoder.tokenizer, Reading())
    # Teachers 0 1, 2 3 and 8 9; the second prompt's responses 4 5 and 6 7, the third's 10 11.
    assert scoring.teacher_PK.tolist() == [[0, 1], [2, 3], [8, 9]]
    assert scoring.valid_PG.tolist() == [[False] * 3, [True, False, True], [True, False, False]]
    assert scoring.policy_PGK[scoring.valid_PG].tolist() == [[4, 5], [6, 7], [10, 11]]


def test_the_row_without_a_teacher_is_named(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    for teacher in (None, MALFORMED):
        with pytest.raises(UserError, match=r"align\.jsonl:3: the teacher's response is missing or malformed"):
            make_scoring_batch([replace(prompts[2], teacher=teacher)], [[respond("a")]], encoder.tokenizer, Reading())


@pytest.mark.parametrize("sees_caption", [False, True])
def test_the_reasoning_segment_may_start_with_the_caption(
    prompts: list[Prompt], encoder: PromptEncoder, sees_caption: bool
) -> None:
    """Then it is the whole response; for the policy's text, in another layout, the same ids as for the teacher's."""
    text = "<caption>\n- One cat.\n</caption>\n<think>\nCount it.\n</think>\n<answer>\n1\n</answer>"
    loose = "\n<caption>- One cat.</caption> <think>\n\nCount it. </think><answer>1\n</answer>\n"
    scoring = make_scoring_batch([replace(prompts[0], teacher=text)], [[loose]], encoder.tokenizer, Reading(sees_caption))
    teacher, policy = scoring.groups[0].segments[:2], scoring.groups[0].segments[2:]
    assert policy == teacher
    end = encoder.tokenizer.eos_token_id
    assert [segment[-1] for segment in teacher] == [end, end]
    perception, reasoning = (encoder.tokenizer.decode(segment[:-1]) for segment in teacher)
    assert perception == "<caption>\n- One cat.\n</caption>"
    assert reasoning == (text if sees_caption else "<think>\nCount it.\n</think>\n<answer>\n1\n</answer>")


def test_who_sees_the_caption_scores_reasoning_by_it(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    """Two captions, the same think and answer: one reasoning score, or two."""
    texts = [respond("- Left: 3, bold."), respond("- A cat and a dog.")]
    for sees_caption in (False, True):
        scorer = DedicatedExpertsDiscriminator(reasoning_sees_caption=sees_caption).build(EMBEDDED_NAME, "test").eval()
        scoring = make_scoring_batch(prompts[:1], [texts], encoder.tokenizer, scorer.reading)
        first_K, second_K = arrange(score(scorer, scoring), scoring).policy_PGK[0]
        assert abs(first_K[0] - second_K[0]) > 1e-3
        assert (abs(first_K[1] - second_K[1]) > 1e-3) == sees_caption
        assert (abs(first_K[1] - second_K[1]) < 1e-5) == (not sees_caption)


def test_last_tokens_are_the_ends_of_the_segments(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[respond("a")], [respond("b")]]
    whole = make_scoring_batch(prompts[:2], texts, encoder.tokenizer, Reading())
    ends = make_scoring_batch(prompts[:2], texts, encoder.tokenizer, Reading(), last_tokens=4)
    for group, shortened in zip(whole.groups, ends.groups, strict=True):
        assert shortened.segments == tuple(segment[-4:] for segment in group.segments)
        assert {len(segment) for segment in shortened.segments} == {4}


def test_arrange_by_hand(prompts: list[Prompt], encoder: PromptEncoder) -> None:
    texts = [[respond("a"), MALFORMED], [respond("b"), respond("c")]]
    scoring = make_scoring_batch(prompts[:2], texts, encoder.tokenizer, Reading())
    scores = arrange(torch.arange(10.0) + 1, scoring)
    assert scores.teacher_PK.tolist() == [[1, 2], [5, 6]]
    assert scores.policy_PGK.tolist() == [[[3, 4], [0, 0]], [[7, 8], [9, 10]]]
    # Teacher minus policy of the three valid pairs: 1 - 3, 5 - 7, 5 - 9, and the same for reasoning.
    assert scores.margin_MK.tolist() == [[-2, -2], [-2, -2], [-4, -4]]
    part = scores.part(slice(1, None), slice(1))
    assert part.teacher_PK.tolist() == [[5, 6]]
    assert part.policy_PGK.tolist() == [[[7, 8]]]
    assert part.margin_MK.tolist() == [[-2, -2]]


def test_fillers_change_nothing(prompts: list[Prompt], encoder: PromptEncoder, discriminator: Scorer) -> None:
    """Ranks with fewer micro-batches go through fillers: neither their scores nor their tokens are counted."""
    scoring = make_scoring_batch(prompts, [[respond("a")]] * len(prompts), encoder.tokenizer, Reading())
    batches = [pack(batch) for batch in micro_batches(scoring.groups, 400)]
    assert len(batches) > 1
    own = [(packed, False) for packed in batches]
    once = game.score(discriminator, scoring, own)
    padded = game.score(discriminator, scoring, [*own, (pack([FILLER]), True), (pack([FILLER]), True)])
    usage = once.usage
    assert usage is not None
    assert torch.equal(padded.score_N, once.score_N)
    assert all(torch.equal(tensor, vars(padded.usage)[name]) for name, tensor in vars(usage).items())
    segments = sum(len(segment) for group in scoring.groups for segment in group.segments)
    prompt_tokens = sum(len(group.prompt.input_ids) for group in scoring.groups)
    assert usage.tokens_C.sum() == segments + prompt_tokens


def roles_swapped(
    prompts: list[Prompt], others: list[str], encoder: PromptEncoder, scorer: Scorer
) -> tuple[Scores, Scores]:
    """Scores of the teachers against ``others``, and after they have swapped their texts, now in the policy's layout."""
    swapped = [replace(prompt, teacher=text) for prompt, text in zip(prompts, others, strict=True)]
    scoring = make_scoring_batch(prompts, [[text] for text in others], encoder.tokenizer, scorer.reading)
    counter = make_scoring_batch(
        swapped, [[f"\n{prompt.teacher} "] for prompt in prompts], encoder.tokenizer, scorer.reading
    )
    return arrange(score(scorer, scoring), scoring), arrange(score(scorer, counter), counter)


@pytest.mark.parametrize("readout", ["mean", "last"])
@pytest.mark.parametrize("sees_caption", [False, True])
def test_scores_do_not_know_the_role(
    prompts: list[Prompt], encoder: PromptEncoder, readout: str, sees_caption: bool
) -> None:
    """Teacher and policy swap their texts: each text keeps its score."""
    leaf = DedicatedExpertsDiscriminator(readout=readout, reasoning_sees_caption=sees_caption, noise=0.3)
    others = [respond(" - Two digits.\n\n", "\nLeft is 3. ", "3") + "\n", respond("Digits: 4 and 5.")]
    scores, counter = roles_swapped(prompts[:2], others, encoder, leaf.build(EMBEDDED_NAME, "test").eval())
    torch.testing.assert_close(counter.policy_PGK[:, 0], scores.teacher_PK, atol=1e-5, rtol=0)
    torch.testing.assert_close(counter.teacher_PK, scores.policy_PGK[:, 0], atol=1e-5, rtol=0)
    # The texts themselves differ by more than that, so the equality says something.
    assert scores.margin_MK.abs().min() > 1e-3


def test_a_copy_of_the_teacher_has_no_margin(prompts: list[Prompt], encoder: PromptEncoder, discriminator: Scorer) -> None:
    texts = [[prompt.teacher, respond("x")] for prompt in prompts]
    scoring = make_scoring_batch(prompts, texts, encoder.tokenizer, discriminator.reading)
    margin_PGK = arrange(score(discriminator, scoring), scoring).margin_MK.reshape(len(prompts), 2, 2)
    assert margin_PGK[:, 0].abs().max() < 1e-5
    assert margin_PGK[:, 1].abs().max() > 1e-2


def test_scores_do_not_depend_on_batch_or_budget(
    mixed_prompts: list[Prompt], encoder: PromptEncoder, discriminator: Scorer
) -> None:
    """Images of different sizes and no image, all in one batch, in small micro-batches, and each prompt alone."""
    asked = [replace(prompt, teacher=respond(f"- Picture {i}.")) for i, prompt in enumerate(mixed_prompts)]
    texts = [[respond("A cat." * (i + 1)), MALFORMED, respond(f"{i}", "Two steps.\nDone.", f"{i}")] for i in range(5)]
    scoring = make_scoring_batch(asked, texts, encoder.tokenizer, discriminator.reading)
    whole_N = score(discriminator, scoring)
    assert len(micro_batches(scoring.groups, 150)) > 5
    torch.testing.assert_close(score(discriminator, scoring, 150), whole_N, atol=1e-5, rtol=0)
    alone = [
        make_scoring_batch([prompt], [own], encoder.tokenizer, discriminator.reading)
        for prompt, own in zip(asked, texts, strict=True)
    ]
    alone_N = torch.cat([score(discriminator, single) for single in alone])
    torch.testing.assert_close(alone_N, whole_N, atol=1e-5, rtol=0)
    assert whole_N.std() > 1e-2
