"""A row in the form of each project whose files are read, and what must be read from it."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Features, Image, List, Value

Row = dict[str, Any]
TAUGHT = "<caption>\n- Digits.\n</caption>\n<think>\nAdd.\n</think>\n<answer>\n3\n</answer>"
PATH = "images/rlvr/00000.png"
SECOND = "images/rlvr/00001.png"


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def said(text: str = TAUGHT) -> Row:
    return {"role": "assistant", "content": text}


@dataclass(frozen=True)
class Schema:
    """A row in one project's form, and what must be read from it."""

    file: str
    make: Callable[[bytes], Row]
    """From the bytes of the first image."""
    context: tuple[str, ...]
    """The turns before the one that is answered, ``s:``, ``u:`` or ``a:`` before each; ``s:`` alone is PRISM's prompt."""
    learnt: tuple[str, ...] = (TAUGHT,)
    """What a demonstration is trained on."""
    answers: tuple[str, ...] = ("3",)
    """Of a prompt."""
    images: int = 1
    features: Features | None = None


def data_url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


DEMONSTRATIONS = {
    "LLaMA-Factory sharegpt": Schema(
        "llama_factory.json",
        lambda _: {
            "conversations": [
                {"from": "human", "value": "<image>Add."}, {"from": "gpt", "value": "3"},
                {"from": "human", "value": "And the left?"}, {"from": "gpt", "value": TAUGHT},
            ],
            "system": "Look.", "tools": "[]", "images": [PATH],
        },
        ("s:Look.", "u:<image>Add.", "a:3", "u:And the left?"), ("3", TAUGHT),
    ),
    "LLaMA-Factory alpaca": Schema(
        "alpaca.json",
        lambda _: {
            "instruction": "<image>Add.", "input": "Both digits.", "output": TAUGHT, "system": "Look.",
            "history": [["First?", "1"]], "images": [PATH],
        },
        ("s:Look.", "u:First?", "a:1", "u:<image>Add.\nBoth digits."), ("1", TAUGHT),
    ),
    "LLaMA-Factory typed value": Schema(
        "llama_factory_v1.jsonl",
        lambda _: {"messages": [
            {"role": "system", "content": [{"type": "text", "value": "Look."}], "loss_weight": 0.0},
            {"role": "user", "content": [{"type": "image_url", "value": PATH}, {"type": "text", "value": "Add."}],
             "loss_weight": 0.0},
            {"role": "assistant", "content": [{"type": "text", "value": TAUGHT}], "loss_weight": 1.0},
        ]},
        ("s:Look.", "u:<image>Add."),
    ),
    "TRL messages": Schema(
        "trl.parquet",
        lambda image: {
            "messages": [
                {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "Add."}]},
                {"role": "assistant", "content": [{"type": "text", "text": TAUGHT}]},
            ],
            "images": [{"bytes": image, "path": None}],
        },
        ("s:", "u:<image>Add."),
        features=Features({
            "messages": List({
                "role": Value("string"), "content": List({"type": Value("string"), "text": Value("string")}),
            }),
            "images": List(Image()),
        }),
    ),
    "TRL prompt and completion": Schema(
        "trl_completion.parquet",
        lambda image: {
            "prompt": [user("Add.")], "completion": [said()], "images": [{"bytes": image, "path": None}],
        },
        ("s:", "u:<image>Add."),
    ),
    "TRL plain prompt and completion": Schema(
        "trl_plain.jsonl", lambda _: {"prompt": "Add 1 and 2.", "completion": TAUGHT}, ("s:", "u:Add 1 and 2."), images=0,
    ),
    "ms-swift messages": Schema(
        "swift.jsonl",
        lambda _: {
            "messages": [
                {"role": "system", "content": "Look."}, user("<image><image>First?"), {**said("1"), "loss": False},
                user("Add."), {**said(), "loss": True},
            ],
            "images": [PATH, SECOND],
        },
        ("s:Look.", "u:<image><image>First?", "a:1", "u:Add."), images=2,
    ),
    "ms-swift query and response": Schema(
        "swift_query.jsonl",
        lambda _: {
            "system": "Look.", "query": "<image>Add.", "response": TAUGHT, "history": [["First?", "1"]],
            "images": [PATH],
        },
        ("s:Look.", "u:First?", "a:1", "u:<image>Add."), ("1", TAUGHT),
    ),
    "LLaVA": Schema(
        "llava.json",
        lambda _: {
            "id": "1", "image": PATH,
            "conversations": [
                {"from": "human", "value": "<image>\nFirst?"}, {"from": "gpt", "value": "1"},
                {"from": "human", "value": "Add."}, {"from": "gpt", "value": TAUGHT},
            ],
        },
        ("s:", "u:<image>\nFirst?", "a:1", "u:Add."), ("1", TAUGHT),
    ),
    "Qwen-VL": Schema(
        "qwen.jsonl",
        lambda _: {"messages": [
            {"role": "user", "content": [{"type": "image", "image": f"file://{PATH}"}, {"type": "text", "text": "Add."}]},
            {"role": "assistant", "content": [{"type": "text", "text": TAUGHT}]},
        ]},
        ("s:", "u:<image>Add."),
    ),
    "OpenAI": Schema(
        "openai.jsonl",
        lambda image: {"messages": [
            {"role": "developer", "content": "Look."}, user("First?"), {**said("1"), "weight": 0},
            {"role": "user", "content": [
                {"type": "text", "text": "Add. "},
                {"type": "image_url", "image_url": {"url": data_url(image), "detail": "high"}},
            ]},
            {**said(), "weight": 1},
        ]},
        ("s:Look.", "u:First?", "a:1", "u:Add. <image>"),
    ),
    "Anthropic": Schema(
        "anthropic.jsonl",
        lambda image: {
            "system": "Look.",
            "messages": [
                {"role": "user", "content": [
                    {"type": "image", "source": {
                        "type": "base64", "media_type": "image/png", "data": base64.b64encode(image).decode(),
                    }},
                    {"type": "text", "text": "Add."},
                ]},
                said(),
            ],
        },
        ("s:Look.", "u:<image>Add."),
    ),
    "PRISM demonstrations": Schema(
        "prism.json",
        lambda _: {"messages": [{"role": "system", "content": "Look."}, user("<image>Add."), said()], "images": [PATH]},
        ("s:Look.", "u:<image>Add."),
    ),
}  # fmt: skip
PROMPTS = {
    "TRL GRPO": Schema(
        "trl_grpo.parquet",
        lambda image: {
            "prompt": [user("Add.")], "image": {"bytes": image, "path": None}, "solution": "<answer> 3 </answer>",
        },
        ("s:", "u:<image>Add."), features=Features({
            "prompt": List({"role": Value("string"), "content": Value("string")}), "image": Image(),
            "solution": Value("string"),
        }),
    ),
    "verl": Schema(
        "verl.parquet",
        lambda image: {
            "data_source": "hiyouga/geometry3k", "prompt": [user("<image>Add.")],
            "images": [{"bytes": image, "path": None}], "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "3"},
            "extra_info": {"split": "train", "index": 0, "answer": "3", "question": "<image>Add."},
        },
        ("s:", "u:<image>Add."),
    ),
    "verl with several targets": Schema(
        "verl_targets.parquet",
        lambda _: {
            "data_source": "searchR1_nq", "prompt": [user("1 and 2?")], "ability": "fact",
            "reward_model": {"style": "rule", "ground_truth": {"target": ["three", "3"]}}, "extra_info": {"index": 0},
        },
        ("s:", "u:1 and 2?"), answers=("three", "3"), images=0,
    ),
    "EasyR1": Schema(
        "easyr1.parquet",
        lambda image: {"images": [{"bytes": image, "path": None}], "problem": "<image>Add.", "answer": "3"},
        ("s:", "u:<image>Add."),
    ),
    "PRISM prompts": Schema(
        "prism_rl.parquet",
        lambda image: {
            "prompt": [{"role": "system", "content": "Look."}, user("<image>Add.")],
            "images": [{"bytes": image, "path": None}], "data_source": "mm_gad",
            "reward_model": {"style": "rule", "ground_truth": "3"}, "teacher_response": TAUGHT,
        },
        ("s:Look.", "u:<image>Add."),
    ),
    "plain": Schema(
        "plain.jsonl", lambda _: {"question": "Add.", "image": PATH, "answer": 3}, ("s:", "u:<image>Add."),
    ),
}  # fmt: skip
