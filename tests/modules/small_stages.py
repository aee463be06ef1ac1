"""The repository's stages with rollouts, made small: their rollouts alone, of responses that are written or short."""

from pathlib import Path
from typing import Any

import yaml

Content = dict[str, Any]
"""A configuration as YAML has it."""

_REWARD = """
def dead(source):
    return {dead}

def reward(inputs):
    # Varied where there is a signal, so that every other group has one.
    return [0.0 if dead(i["source"]) else (i["response_length"] * 7 + len(set(i["response"]))) % 5 / 4 for i in inputs]
"""


def scripted(*callbacks: Content, engine: Content | None = None) -> Content:
    """Alignment on written responses, which give all kinds of pairs; ``callbacks`` beside the rollouts'.

    ``engine`` is another one of written responses.
    """
    content, rollout = _with_rollouts("align.yaml", callbacks)
    rollout |= {
        "engine": engine or {"class_path": "tests.modules.scripted.ScriptedEngine"},
        "sampling": {"max_new_tokens": 60, "group_size": 4},
        # The engine's probabilities are nobody's.
        "probe": {"mean_gap": 1e9, "p99_gap": 1e9},
    }
    return content


def rewarded(folder: Path, *callbacks: Content, dead: str = "False", max_new_tokens: int = 12) -> Content:
    """RLVR on four short responses a prompt, with a reward of their lengths and letters that is written to the folder.

    ``dead`` is the expression that says of a ``source`` whether all its rewards are 0.
    """
    content, rollout = _with_rollouts("rlvr.yaml", callbacks)
    rollout["engine"] = {"class_path": "TransformersEngine"}
    rollout["sampling"] |= {"max_new_tokens": max_new_tokens, "group_size": 4}
    (folder / "mine.py").write_text(_REWARD.format(dead=dead))
    reward = {"class_path": "PythonReward", "init_args": {"function": f"{folder}/mine.py:reward"}}
    content["model"]["init_args"] |= {"rewards": [reward], "policy": {"path": "embedded/digits"}}
    content["trainer"]["logger"] = False
    return content


def write(content: Content, file: Path) -> Path:
    """The configuration as a file."""
    file.write_text(yaml.safe_dump(content))
    return file


def _with_rollouts(config: str, callbacks: tuple[Content, ...]) -> tuple[Content, Content]:
    """A configuration without its other callbacks, and the options of its rollouts."""
    content = yaml.safe_load((Path("configs") / config).read_text())
    rollout = next(c for c in content["trainer"]["callbacks"] if c["class_path"] == "RolloutCallback")
    content["trainer"]["callbacks"] = [rollout, *callbacks]
    return content, rollout["init_args"]
