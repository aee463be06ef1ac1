"""The cases of the matrix: algorithms, discriminators, adapters, frozen parts, mixtures, rows without images."""

import json
from pathlib import Path

import torch
import yaml
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration, Qwen3VLMoeForConditionalGeneration

from prism_pl.discriminators.upcycling import mixture_config
from prism_pl.embedded import embedded_folder
from tests.modules.small_stages import Content, rewarded, scripted, write

ALGORITHMS = ["GRPO", "DAPO", "GSPO", "DrGRPO", "RLOO", "ReinforcePlusPlus", "CISPO", "SAPO"]
DISCRIMINATORS = [
    "DedicatedExpertsDiscriminator", "SharedMixtureDiscriminator", "DenseDiscriminator", "TextOnlyDiscriminator",
]  # fmt: skip
STEADY = {"lr": 1e-3, "eps": 0.1}
"""Of an AdamW that goes along the gradient. Its usual first step is the gradient's sign, which for weights that have hardly
any is the sign of a rounding."""


def rlvr(folder: Path, algorithm: str, policy: Content | None = None, rows: dict[str, str] | None = None) -> Content:
    content = rewarded(folder, max_new_tokens=10)
    content["model"]["init_args"] |= {
        "algorithm": {"class_path": algorithm},
        "policy": {"path": "embedded/digits"} | (policy or {}),
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
    }
    content["data"]["init_args"] |= {"batch_size": 4} | ({"path": rows} if rows else {})
    return content


def align(name: str, *callbacks: Content, policy: Content | None = None, discriminator: Content | None = None) -> Content:
    content = scripted(*callbacks)
    content["model"]["init_args"] |= {
        "policy": {"path": "embedded/digits"} | (policy or {}),
        "discriminator": {"class_path": name, "init_args": discriminator or {}},
        "discriminator_loss": {"in_batch_weight": 1.0, "r1_weight": 0.1, "balance_weight": 0.01},
        "replay": {"prompts_per_update": 2},
        "discriminator_optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
    }
    content["data"]["init_args"]["batch_size"] = 4
    return content


def sft() -> Content:
    """Vision tower and projector are frozen."""
    content = yaml.safe_load(Path("configs/sft.yaml").read_text())
    content["trainer"]["callbacks"] = []
    content["model"]["init_args"]["policy"] = {"path": "embedded/digits"}
    content["model"]["init_args"]["optimizer"]["init_args"]["lr"] = 1e-4
    # Two micro-batches a rank, and not equally many on both.
    content["model"]["init_args"]["max_tokens"] = 700
    content["data"]["init_args"]["batch_size"] = 10
    return content


def warmup(folder: Path) -> Content:
    """On written responses to a few rows."""
    content = yaml.safe_load(Path("configs/warmup.yaml").read_text())
    rows = (embedded_folder() / "align.jsonl").read_text().splitlines(keepends=True)[:8]
    (folder / "pairs.jsonl").write_text("".join(rows))
    source = {"path": str(folder / "pairs.jsonl"), "image_root": "embedded/digits"}
    engine = {"class_path": "tests.modules.scripted.ScriptedEngine"}
    options = {"path": source, "heldout_path": source, "engine": engine, "num_heldout": 4, "batch_size": 4}
    content["data"]["init_args"] |= options
    content["model"]["init_args"] |= {"in_batch_first": 0, "policy": {"path": "embedded/digits"}}
    content["model"]["init_args"]["discriminator"]["init_args"] = {"path": "embedded/digits"}
    content["model"]["init_args"]["optimizer"]["init_args"] |= STEADY
    content["trainer"]["val_check_interval"] = 2
    return content


def mixture(folder: Path) -> str:
    """A policy that is a mixture, with random weights."""
    source = embedded_folder() / "model"
    config = mixture_config(json.loads((source / "config.json").read_text()), num_experts=4, top_k=2)
    torch.manual_seed(0)
    model = Qwen3VLMoeForConditionalGeneration(config).float()
    model.generation_config.eos_token_id = model.config.text_config.eos_token_id
    model.generation_config.pad_token_id = model.config.text_config.pad_token_id
    model.save_pretrained(folder / "mixture")
    AutoProcessor.from_pretrained(source).save_pretrained(folder / "mixture")
    return str(folder / "mixture")


def half(folder: Path) -> str:
    """The embedded model stored in bf16, as published models are; it is trained in fp32."""
    source = embedded_folder() / "model"
    Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(folder / "half")
    AutoProcessor.from_pretrained(source).save_pretrained(folder / "half")
    return str(folder / "half")


def unrounded(content: Content) -> Content:
    """Exports are bf16 as the model at the start; their differences would be roundings."""
    content["model"]["init_args"]["export_dtype"] = "float32"
    return content


def text_only(folder: Path) -> dict[str, str]:
    """Rows of which every second one has no image, so that a rank may have none at all."""
    source = embedded_folder().resolve()
    rows = [json.loads(line) for line in (source / "rlvr.jsonl").read_text().splitlines()[:40]]
    for index, row in enumerate(rows):
        if index % 2:
            row["images"] = []
            row["messages"][1]["content"] = row["messages"][1]["content"].replace("<image>", "")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(folder / "rows.jsonl"), "image_root": "embedded/digits"}


LORA = {"lora": {"rank": 4, "alpha": 8.0}}
PROBE = {
    "class_path": "ConvergenceProbe",
    "init_args": {
        "path": "embedded/digits/heldout.jsonl", "every": 1, "num_prompts": 8, "max_new_tokens": 60,
        "discriminator": {"class_path": "DedicatedExpertsDiscriminator"}, "training": {"steps": 2},
        "encoder": {"class_path": "HiddenStates"},
    },
}  # fmt: skip
FROZEN = {"freeze": {"vision_tower": True, "projector": False, "language_model": False}}


def small(folder: Path) -> dict[str, Content]:
    """Two cases with something of everything: both games, adapters, frozen parts, a mixture each, rows without images."""
    return {
        "align": align("DedicatedExpertsDiscriminator", PROBE, policy=FROZEN, discriminator=LORA),
        "dapo": rlvr(folder, "DAPO", {"path": mixture(folder)} | LORA, text_only(folder)),
    }


def all_stages(folder: Path) -> dict[str, Content]:
    """Each once; discriminator and RLVR's policy are mixtures."""
    return {
        "sft": sft(),
        "warmup": warmup(folder),
        "align": align("DedicatedExpertsDiscriminator"),
        "rlvr": rlvr(folder, "GRPO", {"path": mixture(folder)}),
    }


def full(folder: Path) -> dict[str, Content]:
    """One thing a case."""
    cases = {f"rlvr-{algorithm}": rlvr(folder, algorithm) for algorithm in ALGORITHMS}
    cases |= {f"align-{name}": align(name) for name in DISCRIMINATORS}
    return cases | {
        "align-lora": align("DedicatedExpertsDiscriminator", policy=LORA, discriminator=LORA),
        "align-frozen": align("DenseDiscriminator", policy=FROZEN),
        "rlvr-mixture": rlvr(folder, "GRPO", {"path": mixture(folder)}),
        "rlvr-half": unrounded(rlvr(folder, "GRPO", {"path": half(folder)})),
        "rlvr-half-lora": unrounded(rlvr(folder, "GRPO", {"path": half(folder)} | LORA)),
        "rlvr-text-only": rlvr(folder, "GRPO", rows=text_only(folder)),
        "sft-frozen": sft(),
    }


def write_cases(cases: dict[str, Content], folder: Path) -> None:
    """For ``tests.ranks.several_fits``, two updates each."""
    for name, content in cases.items():
        content["trainer"] |= {"max_steps": 2, "logger": False, "enable_progress_bar": False}
        config = write(content, folder / f"{name}.yaml")
        (folder / f"{name}.arguments").write_text(json.dumps(["--config", str(config)]))
