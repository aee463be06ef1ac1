"""Several turns of one demonstration: each is learnt as if it were the response to its own prompt."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from prism_pl.algorithms.supervised import supervised_loss, supervised_metrics
from prism_pl.data.conversation import PromptEncoder, PromptRow
from prism_pl.data.files import DataFile
from prism_pl.data.row_checks import Requirements, check_rows
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.metrics.collection import StepMetrics
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Demonstration

# What a tokenizer would merge with its neighbours, or take for a token of its own, were the text read as a whole.
SAID = ("\nOne <|im_end|> more. ", "  Two\n\n", "Three.")


def turns(*said: Any) -> list[dict[str, Any]]:
    asked = ["<image>First?", "And <image>?", "Both?", "Last?"]
    found: list[dict[str, Any]] = [{"role": "system", "content": "Look."}]
    for question, answer in zip(asked, said, strict=False):
        found += [{"role": "user", "content": question}]
        found += [answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 32), (9, 9, 200)).save(tmp_path / "a.png")
    Image.new("RGB", (32, 32), (200, 9, 9)).save(tmp_path / "b.png")
    return tmp_path


@pytest.fixture(scope="module")
def roomy(embedded: Path) -> PromptEncoder:
    return PromptEncoder(EMBEDDED_NAME, 4096)


def opened(folder: Path, messages: list[dict[str, Any]], images: tuple[str, ...] = ("a.png", "b.png")) -> DataFile:
    (folder / "data.jsonl").write_text(json.dumps({"messages": messages, "images": images}))
    return DataFile.open(str(folder / "data.jsonl"), "test")


def encoded(encoder: PromptEncoder, row: PromptRow) -> Demonstration:
    (prompt,) = encoder.encode([row])
    return Demonstration(prompt, encoder.response_ids(row.response or ""))


def alone(encoder: PromptEncoder, row: PromptRow, index: int) -> Demonstration:
    """The turn with its own context, in which earlier turns are not learnt, only there."""
    before = tuple(row.messages[:index])
    marks = sum(turn["content"].count("<image>") for turn in before)
    said = row.messages[index]["content"] if index < len(row.messages) else row.response
    learnt = tuple(own for own in row.learnt if own < index)
    return encoded(encoder, replace(row, messages=before, images=row.images[:marks], learnt=learnt, response=said))


def logps(policy: Policy, item: Demonstration) -> torch.Tensor:
    packed = pack(make_groups([item.prompt], [[item.response_ids]]))
    with torch.no_grad():
        logp_BT, _ = policy(packed)
    return logp_BT[packed.token_mask_BT]


def test_several_turns_in_one_packed_row_are_the_plain_turns(
    folder: Path, roomy: PromptEncoder, lively_policy: Policy
) -> None:
    row = opened(folder, turns(*SAID)).demonstration(0)
    assert row.learnt == (2, 4)
    item = encoded(roomy, row)
    ids = [roomy.response_ids(text) for text in SAID]
    assert [item.prompt.input_ids[a:b] for a, b in item.prompt.learnt] == ids[:2]
    plain = []
    for index, own in zip((*row.learnt, len(row.messages)), ids, strict=True):
        turn = alone(roomy, row, index)
        assert turn.response_ids == own
        # Only the response's own log-probabilities: those of earlier turns come first.
        plain.append(logps(lively_policy, turn)[-len(own) :])
    together = logps(lively_policy, item)
    assert len(together) == item.num_learnt == sum(map(len, ids))
    assert torch.allclose(together, torch.cat(plain), atol=1e-5)
    assert len(set(together.tolist())) > 10


def test_the_loss_of_a_batch_is_the_mean_over_all_learnt_turns(
    folder: Path, roomy: PromptEncoder, lively_policy: Policy
) -> None:
    """A row of three turns beside one of a single turn, in one micro-batch."""
    several = opened(folder, turns(*SAID)).demonstration(0)
    single = opened(folder, turns("Only."), ("a.png",)).demonstration(0)
    items = [encoded(roomy, several), encoded(roomy, single)]
    packed = pack(make_groups([i.prompt for i in items], [[i.response_ids] for i in items]))
    num_tokens = sum(item.num_learnt for item in items)
    with torch.no_grad():
        figures = lively_policy(packed, likelihood=True)
        metrics = StepMetrics(supervised_metrics())
        loss = supervised_loss(*figures, packed.token_mask_BT, num_tokens, metrics)
    plain = [logps(lively_policy, alone(roomy, several, i))[-n:] for i, n in zip((2, 4, 6), lengths(roomy), strict=True)]
    plain.append(logps(lively_policy, items[1]))
    assert float(loss) == pytest.approx(-float(torch.cat(plain).mean()), abs=1e-5)


def lengths(encoder: PromptEncoder) -> list[int]:
    return [len(encoder.response_ids(text)) for text in SAID]


def test_an_earlier_turn_reads_as_the_template_writes_it(folder: Path, roomy: PromptEncoder) -> None:
    """Where nothing can be merged the ids are those of the whole text, learnt or not."""
    row = opened(folder, turns("One.", "Two.", "Three.")).demonstration(0)
    learnt, plain = encoded(roomy, row).prompt, encoded(roomy, replace(row, learnt=())).prompt
    assert (learnt.input_ids, learnt.engine_ids) == (plain.input_ids, plain.engine_ids)
    assert torch.equal(learnt.positions_3T, plain.positions_3T)
    assert learnt.learnt
    assert not plain.learnt


def test_counts_are_those_of_the_encoded_row(folder: Path, roomy: PromptEncoder) -> None:
    data = opened(folder, turns(*SAID))
    (checked,) = check_rows(data, [0], roomy, Requirements(max_response_tokens=99))
    item = encoded(roomy, data.demonstration(0))
    assert (checked.prompt_tokens, checked.response_tokens) == (len(item.prompt.input_ids), len(item.response_ids))


def silent(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "loss": False}


@pytest.mark.parametrize(
    ("said", "mask_history", "learnt", "response", "images"),
    [
        ((silent("1"), "2", "3"), False, (4,), "3", 2),
        (("1", silent("2"), "3"), False, (2,), "3", 2),
        # After the last turn that is learnt nothing matters, its images included.
        (("1", silent("2"), silent("3")), False, (), "1", 1),
        (("1", "2", "3"), True, (), "3", 2),
        ((silent("1"), silent("2"), "3"), True, (), "3", 2),
    ],
)
def test_who_is_learnt(
    folder: Path, said: tuple[Any, ...], mask_history: bool, learnt: tuple[int, ...], response: str, images: int
) -> None:
    data = opened(folder, turns(*said), ("a.png", "b.png")[:images])
    row = data.demonstration(0, mask_history=mask_history)
    assert (row.learnt, row.response, len(row.images)) == (learnt, response, images)


def test_a_system_prompt_of_ours_moves_the_learnt_turns(folder: Path) -> None:
    row = opened(folder, turns("1", "2")[1:]).demonstration(0)
    assert row.default_system
    assert [row.messages[index]["content"] for index in row.learnt] == ["1"]
    empty = [{"role": "system", "content": ""}, *turns("1", "2")[1:]]
    row = opened(folder, empty).demonstration(0)
    assert [turn["role"] for turn in row.messages] == ["user", "assistant", "user"]
    assert [row.messages[index]["content"] for index in row.learnt] == ["1"]


@pytest.mark.parametrize(
    ("said", "mask_history", "message"),
    [
        ((silent("1"),), False, "nothing is learnt, as `loss` is false for every turn of the assistant"),
        (("1", silent("2")), True, "nothing is learnt, as `loss` is false for the last turn"),
        (("1 <image>", "2"), False, "a turn that is learnt holds an <image> mark"),
        (
            ({"role": "assistant", "content": "1", "loss_scale": 0.5}, "2"),
            False,
            "`loss_scale: 0.5`, a weight other than 0",
        ),
    ],
)
def test_what_cannot_be_learnt_is_named(folder: Path, said: tuple[Any, ...], mask_history: bool, message: str) -> None:
    with pytest.raises(UserError, match=f"data.jsonl:1: {message}"):
        opened(folder, turns(*said)).demonstration(0, mask_history=mask_history)


def test_a_template_that_rewrites_earlier_turns_is_refused(folder: Path) -> None:
    """As those of thinking models do, which leave earlier thoughts out."""
    encoder = PromptEncoder(EMBEDDED_NAME, 4096)
    encoder.processor.chat_template = encoder.processor.chat_template.replace(
        "{{ message.content }}", "{{ message.content.split('</think>')[-1] }}"
    )
    data = opened(folder, turns("<think>1</think>1", "2"))
    with pytest.raises(
        UserError, match=r"data.jsonl:1: the model's chat template shows earlier turns .*mask_history: true"
    ):
        encoder.encode([data.demonstration(0)])
    assert encoder.encode([data.demonstration(0, mask_history=True)])
