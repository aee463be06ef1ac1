"""Which folders a policy is read from, and a mixture-of-experts policy (Qwen3-VL-MoE) on packed batches."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoProcessor, Qwen3VLMoeForConditionalGeneration

from prism_pl.discriminators.upcycling import mixture_config
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt
from tests.plain_forward import plain_logprobs


@pytest.fixture(scope="module")
def folder(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: four experts, two a token."""
    config = mixture_config(AutoConfig.from_pretrained(embedded / "model").to_dict(), 4, 2)
    torch.manual_seed(0)
    target = tmp_path_factory.mktemp("mixture") / "model"
    Qwen3VLMoeForConditionalGeneration(config).float().save_pretrained(target)
    AutoProcessor.from_pretrained(embedded / "model").save_pretrained(target)
    return target


def test_packed_log_probabilities_and_gradients_are_the_plain_ones(folder: Path, prompts: list[Prompt]) -> None:
    policy = Policy.load(str(folder), "test")
    responses = [[(9, 10, 11, 12), (20, 21)], [(13, 14, 15), (30,)]]
    packed = pack(make_groups(prompts[:2], responses))
    logp_BT, _ = policy(packed)
    own = [logp[mask] for logp, mask in zip(logp_BT, packed.token_mask_BT, strict=True)]
    plain = [plain_logprobs(policy, prompts[p], ids) for p, group in enumerate(responses) for ids in group]
    for ours, reference in zip(own, plain, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    first = torch.autograd.grad(torch.cat(own).sum(), trained, allow_unused=True)
    second = torch.autograd.grad(torch.cat(plain).sum(), trained, allow_unused=True)
    for ours, reference in zip(first, second, strict=True):
        assert (ours is None) == (reference is None)
        if ours is not None and reference is not None:
            torch.testing.assert_close(ours, reference, atol=1e-4 * float(reference.abs().max()) + 1e-8, rtol=0)


def test_the_saved_folder_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    policy = Policy.load(str(folder), "test")
    policy.save(tmp_path / "model", str(folder), dict(policy.weights()))
    before = Qwen3VLMoeForConditionalGeneration.from_pretrained(folder).state_dict()
    after = Qwen3VLMoeForConditionalGeneration.from_pretrained(tmp_path / "model").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_that_are_pickled_are_refused(tmp_path: Path, embedded: Path) -> None:
    shutil.copytree(embedded / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Policy.load(str(tmp_path / "model"), "model")
