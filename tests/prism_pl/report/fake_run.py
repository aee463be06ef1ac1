"""Run folders written by hand."""

import json
from pathlib import Path

from PIL import Image

from prism_pl.runs.graph import RecordedStage, write_graph

SCRIPT = "<script>alert('&')</script>"


def response(items: int, steps: int, answer: str, said: str = "Seen.") -> str:
    caption = "\n".join(f"- {said}" for _ in range(items))
    think = "\n".join("A step." for _ in range(steps))
    return f"<caption>\n{caption}\n</caption>\n<think>\n{think}\n</think>\n<answer>\n{answer}\n</answer>"


def record(index: int, image: Path, sampled: str, greedy_correct: bool, sampled_correct: bool, tokens: int) -> dict:
    return {
        "source": f"gone.jsonl:{index + 1}",
        "question": "Sum?",
        "data_source": {"image_root": "gone"},
        "image": str(image),
        "answer": "7",
        "teacher": response(3, 3, "7"),
        "greedy": response(1, 1, "7" if greedy_correct else "1"),
        "greedy_correct": float(greedy_correct),
        "sampled": sampled,
        "sampled_correct": float(sampled_correct),
        "tokens": tokens,
    }


MODULES = {
    **dict.fromkeys(("base", "sft", "sft_more"), "SFTModule"),
    "warmup": "DiscriminatorModule",
    "align": "AdversarialAlignModule",
}
"""Classes of the stages by their names; RLVR's for all others."""
POLICIES = {"warmup": "sft", "align": "sft", "rlvr": "align"}
"""Who starts from whom in the run without branches."""


def write_stage(
    folder: Path, lines: list[dict], heldout: list[dict] | None = None, updates: int = 4, policy: str | None = None
) -> None:
    folder.mkdir(parents=True)
    path = f"runs/{folder.parent.name}/{policy}/model" if policy else "embedded/digits"
    model = {"class_path": f"modules.{MODULES.get(folder.name, 'RLVRModule')}", "init_args": {"policy": {"path": path}}}
    (folder / "config.yaml").write_text(json.dumps({"model": model}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if heldout is not None:
        (folder / "heldout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in heldout))
    (folder / "finished.json").write_text(json.dumps({"updates": updates, "commit": "abc123", "identity": "i"}))


def recorded(name: str, policy: str | None, title: str | None = None, **inputs: str) -> RecordedStage:
    return RecordedStage(name, "fit", {**({"model.policy.path": policy} if policy else {}), **inputs}, title)


def fake_run(folder: Path) -> Path:
    """Ten prompts a stage. SFT is terse and mostly wrong, alignment copies the teacher's shape, RLVR is right."""
    image = folder / "digits.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 4), "red").save(image)
    aspects = ("perception", "reasoning")
    sft = [record(i, image, response(1, 1, "1"), i < 4, False, 10) for i in range(9)]
    sft.append(record(9, image, f"{SCRIPT} no sections", False, False, 30))
    align = [record(i, image, response(3 if i < 8 else 1, 3, "7"), i < 5, i < 5, 20) for i in range(10)]
    rlvr = [record(i, image, response(3, 3, "7", said=SCRIPT), True, True, 20) for i in range(10)]
    write_stage(folder / "sft", [{"step": 1, "sft/loss": 2.0}, {"step": 4, "heldout/accuracy": 0.4}], sft)
    warmup = [{"step": s, **{f"accuracy/{a}": 0.5 + s / 10 for a in aspects}} for s in range(1, 5)]
    write_stage(folder / "warmup", [*warmup, {"step": 4, **{f"heldout/accuracy/{a}": 0.9 for a in aspects}}])
    steps = [
        {"step": s, **{f"{m}/{a}": 1 / s for a in aspects for m in ("reward_gap", "accuracy")}, "seconds/rollout": 2.0}
        for s in range(1, 5)
    ]
    ends = {f"heldout/discriminator/{m}/{a}": 0.3 for a in aspects for m in ("reward_gap", "accuracy")}
    probes = [{"step": 1, "rollout/probe_gap": 2e-6}, {"step": 3, "rollout/probe_gap": 7.1e-6}]
    write_stage(folder / "align", [*steps, *probes, {"step": 4, **ends}], align)
    parts = {"reward/accuracy": 0.5, "reward/format": 1.0}
    rewards = [{"step": s, "reward/total": s / 100, **parts} for s in range(1, 101)]
    write_stage(folder / "rlvr", [*rewards, {"step": 100, "heldout/accuracy": 1.0, "seconds/sync": 0.1}], rlvr)
    write_graph(folder, [recorded(name, POLICIES.get(name)) for name in ("sft", "warmup", "align", "rlvr")])
    return folder


def branched_run(folder: Path) -> Path:
    """The same with a base, and with RLVR straight from SFT, right in the first 5 of 9 prompts."""
    fake_run(folder)
    image = folder / "digits.png"
    base = [record(i, image, response(1, 1, "1"), False, False, 10) for i in range(10)]
    write_stage(folder / "base", [{"step": 1, "sft/loss": 3.0}], base)
    direct = [record(i, image, response(1, 1, "7"), i < 5, i < 8, 10) for i in range(9)]
    rewards = [{"step": s, "reward/total": s / 200, "reward/accuracy": s / 200} for s in range(1, 141)]
    write_stage(folder / "direct", [*rewards, {"step": 140, "heldout/accuracy": 0.5}], direct)
    write_graph(
        folder,
        [
            recorded("base", None),
            recorded("sft", "base"),
            recorded("direct", "sft"),
            recorded("warmup", "sft"),
            recorded("align", "sft", **{"model.discriminator.path": "warmup"}),
            RecordedStage("filter", "filter", {"policy": "align"}, None),
            recorded("rlvr", "align", **{"data.path": "filter"}),
        ],
    )
    return folder
