"""The released layout: a stock Qwen3VLMoe checkpoint, experts as (expert, in, out), the head as ``v_head.1.weight``."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, Qwen3VLMoeForConditionalGeneration

from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer, SharedMixtureDiscriminator, load_scorer
from prism_pl.discriminators.upcycling import mixture_config
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from prism_pl.model.packing import PackedBatch, make_groups, pack
from prism_pl.types import Prompt
from tests.plain_forward import plain_hidden

HEAD = "v_head.1.weight"


@pytest.fixture(scope="module")
def own(embedded: Path) -> Scorer:
    """Three experts, of which a token gets one: neither is the class's default."""
    return SharedMixtureDiscriminator(num_experts=3, top_k=1, noise=0.3).build(EMBEDDED_NAME, "test").eval()


@pytest.fixture(scope="module")
def stock(own: Scorer, embedded: Path) -> Qwen3VLMoeForConditionalGeneration:
    """The same backbone as transformers' own class."""
    dense = AutoConfig.from_pretrained(embedded / "model").to_dict()
    stock = Qwen3VLMoeForConditionalGeneration(mixture_config(dense, 3, 1)).eval()
    weights = {name: tensor for name, tensor in own.state_dict().items() if name != "head.weight"}
    missing, unexpected = stock.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    return stock


def publish(stock: Qwen3VLMoeForConditionalGeneration, folder: Path, head: torch.Tensor | None) -> str:
    """Saves the layout that is on the hub: transposed experts, no record of ours."""
    stock.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in stock.state_dict().items():
        if "mlp.experts." in name:
            weights[name] = tensor.transpose(1, 2).contiguous()
    if head is not None:
        weights[HEAD] = head.detach().clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "prism_discriminator" not in json.loads((folder / "config.json").read_text())
    return str(folder)


@pytest.fixture(scope="module")
def published(own: Scorer, stock: Qwen3VLMoeForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish(stock, tmp_path_factory.mktemp("published") / "model", own.head.weight)


def test_the_published_layout_is_read(published: str, own: Scorer, packed: PackedBatch, aspect_B: torch.Tensor) -> None:
    # The disk holds (experts, in, out): width 256 to hidden size 128, and 128 to twice 256.
    weights = load_file(Path(published) / "model.safetensors")
    assert weights["model.language_model.layers.0.mlp.experts.down_proj"].shape == (3, 256, 128)
    assert weights["model.language_model.layers.0.mlp.experts.gate_up_proj"].shape == (3, 128, 512)
    assert weights[HEAD].shape == (1, 128)
    # The size is the checkpoint's, whatever the options say.
    loaded = SharedMixtureDiscriminator(path=published, num_experts=4, top_k=2).build(EMBEDDED_NAME, "test").eval()
    assert loaded.state_dict().keys() == own.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in own.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(loaded(packed, aspect_B)[0], own(packed, aspect_B)[0], atol=1e-6, rtol=0)


def test_its_scores_are_those_of_the_stock_model(
    published: str, stock: Qwen3VLMoeForConditionalGeneration, mixed_prompts: list[Prompt]
) -> None:
    """v_head . last hidden state of transformers' own class, one sequence a call; both kinds of segment alike."""
    loaded = SharedMixtureDiscriminator(path=published).build(EMBEDDED_NAME, "test").eval()
    head_H = load_file(Path(published) / "model.safetensors")[HEAD][0]
    segments = [[(5, 6, 7), (8, 9)]] * len(mixed_prompts)
    packed = pack(make_groups(mixed_prompts, segments))
    with torch.no_grad():
        score_B, _ = loaded(packed, torch.arange(10) % 2)
        swapped_B, _ = loaded(packed, 1 - torch.arange(10) % 2)
    torch.testing.assert_close(swapped_B, score_B, atol=1e-6, rtol=0)
    for b, score in enumerate(score_B.tolist()):
        with torch.no_grad():
            hidden_TH = plain_hidden(stock.model, mixed_prompts[b // 2], segments[0][b % 2])
        assert score == pytest.approx(float(hidden_TH[-1] @ head_H), abs=1e-4)
    assert score_B.std() > 1e-2


def test_the_published_layout_is_no_dedicated_mixture(published: str) -> None:
    with pytest.raises(UserError, match=r"^model\.discriminator: .* is a qwen3_vl_moe model, neither a DedicatedExperts"):
        DedicatedExpertsDiscriminator(path=published).build(EMBEDDED_NAME, "model.discriminator")
    with pytest.raises(UserError, match="is a qwen3_vl_moe model, not a discriminator"):
        load_scorer(published, "report")


def test_a_published_mixture_without_a_head_is_refused(stock: Qwen3VLMoeForConditionalGeneration, tmp_path: Path) -> None:
    folder = publish(stock, tmp_path / "model", None)
    with pytest.raises(UserError, match=r"lacks the weights head\.weight"):
        SharedMixtureDiscriminator(path=folder).build(EMBEDDED_NAME, "model.discriminator")


def test_a_published_mixture_is_saved_in_our_layout(published: str, own: Scorer, tmp_path: Path) -> None:
    """What warm-up or alignment on it leaves behind can be loaded again."""
    loaded = SharedMixtureDiscriminator(path=published).build(EMBEDDED_NAME, "test")
    loaded.save(tmp_path / "d", EMBEDDED_NAME, dict(loaded.weights()))
    again = SharedMixtureDiscriminator(path=str(tmp_path / "d"), num_experts=3, top_k=1).build(EMBEDDED_NAME, "test")
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in own.state_dict().items())


def test_every_kind_reaches_every_expert_and_there_is_one_head(own: Scorer) -> None:
    assert own.routing.reach_CE.tolist() == [[True] * 3] * 3
    assert own.head.weight.shape == (1, 128)
