"""Points of responses are what the plain networks give."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from prism_pl.drift import HiddenStates, SentenceEncoder
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.hub import model_folder
from prism_pl.model.policy import Policy

TEXTS = ["<caption>\n- 3\n</caption>", "one", "Largest digit: 7, then 5 and 3."]
CPU = torch.device("cpu")


def test_hidden_states_are_the_plain_networks_mean(policy: Policy) -> None:
    found = HiddenStates().embed(TEXTS, EMBEDDED_NAME, CPU)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_NAME, "test"))
    end = tokenizer.eos_token_id
    for point_H, text in zip(found, TEXTS, strict=True):
        ids = [end, *tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), end]
        with torch.no_grad():
            hidden_TH = policy.vlm.model.language_model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        torch.testing.assert_close(point_H, hidden_TH[1:].mean(0).float(), rtol=1e-3, atol=1e-3)


def test_points_do_not_depend_on_what_is_packed_beside_them() -> None:
    found = HiddenStates().embed(TEXTS, EMBEDDED_NAME, CPU)
    small = HiddenStates(path=EMBEDDED_NAME, max_tokens=16).embed(TEXTS[::-1], None, CPU)
    torch.testing.assert_close(found, small.flip(0), rtol=1e-4, atol=1e-4)
    assert HiddenStates().embed([], EMBEDDED_NAME, CPU).shape == (0, found.shape[1])


def test_a_sentence_encoder(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder(EMBEDDED_NAME, "test"))
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    # Batches of two, the second text padded to the first.
    found = SentenceEncoder(path=str(tmp_path), batch_size=2).embed(TEXTS, "not read", CPU)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"
    for point_H, text in zip(found, TEXTS, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            expected_H = model(input_ids=ids).last_hidden_state[0].mean(0)
        torch.testing.assert_close(point_H, expected_H, rtol=1e-4, atol=1e-5)


def test_without_a_stage_the_encoder_is_named() -> None:
    with pytest.raises(UserError, match=r"encoder\.path: HiddenStates needs a model here"):
        HiddenStates().embed(TEXTS, None, CPU)
