"""Every schema of docs/data.md: a small file in exactly that form, through check-data, the data module and one update."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset

from datamodules import DemonstrationDataModule, PromptDataModule
from prism_pl.data.files import DataSource
from prism_pl.data.reading import SYSTEM_PROMPT
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.model.packing import make_groups, pack
from prism_pl.model.policy import Policy
from prism_pl.runs.files import read_lines
from prism_pl.types import Demonstration, Prompt
from tests.command_line import run
from tests.schemas import DEMONSTRATIONS, PATH, PROMPTS, Schema

LIMITS = {"max_prompt_tokens": 400, "num_workers": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, embedded: Path) -> Path:
    """A file of one row for each schema."""
    folder = tmp_path_factory.mktemp("schemas")
    image = (embedded / PATH).read_bytes()
    for schema in (DEMONSTRATIONS | PROMPTS).values():
        row, path = schema.make(image), folder / schema.file
        if path.suffix == ".parquet":
            Dataset.from_list([row], features=schema.features).to_parquet(path)
        else:
            path.write_text(json.dumps([row] if path.suffix == ".json" else row))
    return folder


def source(folder: Path, schema: Schema) -> dict[str, str]:
    return {"path": str(folder / schema.file), "image_root": EMBEDDED_NAME}


def stage(folder: Path, name: str, schemas: dict[str, Schema]) -> str:
    """The stage's configuration on all these files, with every row in its one update."""
    content = yaml.safe_load((Path("configs") / f"{name}.yaml").read_text())
    content["data"]["init_args"] |= LIMITS | {
        "path": [source(folder, schema) for schema in schemas.values()], "batch_size": len(schemas),
    }  # fmt: skip
    rollout = [c for c in content["trainer"].pop("callbacks") if c["class_path"] == "RolloutCallback"]
    for callback in rollout:
        callback["init_args"] |= {"engine": {"class_path": "TransformersEngine"}}
        callback["init_args"]["sampling"] |= {"max_new_tokens": 4, "group_size": 2}
    content["trainer"] |= {
        "max_steps": 1, "logger": False, "enable_progress_bar": False,
        "callbacks": [*rollout, {"class_path": "SampleLog"}] if rollout else [],
    }  # fmt: skip
    content["model"]["init_args"]["policy"]["path"] = EMBEDDED_NAME
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def checked(config: str, folder: Path, schema: Schema) -> int:
    return run("check-data", "--config", config, f"--data.path={json.dumps(source(folder, schema))}")


def spoken(schema: Schema) -> str:
    """The context as the embedded model's chat template has it, with a mark where an image stands."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    turns = [(roles[turn[0]], turn[2:] or SYSTEM_PROMPT) for turn in schema.context]
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"


def heard(prompt: Prompt, tokenizer: Any) -> str:
    text = tokenizer.decode(prompt.engine_ids)
    return text.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>")


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_a_schema_of_demonstrations_is_read(name: str, folder: Path, embedded: Path) -> None:
    schema = DEMONSTRATIONS[name]
    assert checked(stage(folder, "sft", DEMONSTRATIONS), folder, schema) == 0
    module, (item,) = demonstrations(folder, schema)
    tokenizer = module.encoder.tokenizer
    assert heard(item.prompt, tokenizer) == spoken(schema)
    assert len(item.prompt.images) == schema.images
    earlier = [tokenizer.decode(item.prompt.input_ids[start:end]) for start, end in item.prompt.learnt]
    assert [*earlier, tokenizer.decode(item.response_ids)] == [f"{text}<|im_end|>" for text in schema.learnt]


def demonstrations(folder: Path, schema: Schema) -> tuple[DemonstrationDataModule, list[Demonstration]]:
    module = DemonstrationDataModule(DataSource(**source(folder, schema)), EMBEDDED_NAME, batch_size=1, **LIMITS)
    module.setup("fit")
    return module, module.encode([0])


def test_one_update_learns_the_demonstrations_of_every_schema(folder: Path, policy: Policy) -> None:
    """Its loss is the mean over the tokens that the data module says are learnt, of every schema."""
    total, tokens = 0.0, 0
    for schema in DEMONSTRATIONS.values():
        _, (item,) = demonstrations(folder, schema)
        with torch.no_grad():
            logp_BT, _ = policy(pack(make_groups([item.prompt], [[item.response_ids]])))
        total, tokens = total - float(logp_BT.sum()), tokens + item.num_learnt
    assert run("fit", "--config", stage(folder, "sft", DEMONSTRATIONS), "--run_dir", str(folder / "sft")) == 0
    (loss,) = [line["sft/loss"] for line in read_lines(folder / "sft" / "metrics.jsonl") if "sft/loss" in line]
    assert loss == pytest.approx(total / tokens, abs=1e-5)
    assert json.loads((folder / "sft" / "finished.json").read_text())["updates"] == 1


@pytest.mark.parametrize("name", PROMPTS)
def test_a_schema_of_prompts_is_read(name: str, folder: Path, embedded: Path) -> None:
    schema = PROMPTS[name]
    assert checked(stage(folder, "rlvr", PROMPTS), folder, schema) == 0
    module = PromptDataModule(DataSource(**source(folder, schema)), EMBEDDED_NAME, 1, ["answer"], **LIMITS)
    module.setup("fit")
    (prompt,) = module.encode([0]).prompts
    assert heard(prompt, module.encoder.tokenizer) == spoken(schema)
    assert (prompt.answers, len(prompt.images)) == (schema.answers, schema.images)


def test_one_update_asks_the_prompts_of_every_schema(folder: Path) -> None:
    assert run("fit", "--config", stage(folder, "rlvr", PROMPTS), "--run_dir", str(folder / "rlvr")) == 0
    assert json.loads((folder / "rlvr" / "finished.json").read_text())["updates"] == 1
    (line,) = [line for line in read_lines(folder / "rlvr" / "metrics.jsonl") if "reward/total" in line]
    assert line["reward/total"] == 0  # four tokens are no answer
    samples = (folder / "rlvr" / "samples.jsonl").read_text()
    assert [name for name, schema in PROMPTS.items() if f"{schema.file}:1" not in samples] == []
