"""SFT on the embedded task."""

from pathlib import Path

from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from tests.modules.fits import finished_updates, logged


def test_sft_lowers_the_loss_and_leaves_a_model_that_transformers_loads(sft: Path) -> None:
    assert finished_updates(sft) == 4
    losses = [line["sft/loss"] for line in logged(sft, "sft/loss")]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    model = Qwen3VLForConditionalGeneration.from_pretrained(sft / "model")
    assert model.config.text_config.num_hidden_layers == 3
    assert AutoProcessor.from_pretrained(sft / "model").tokenizer.eos_token == "<|im_end|>"
    assert (sft / "config.yaml").exists()
