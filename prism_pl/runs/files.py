"""The append-only files of a run, and what a resume does to them."""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError

FINISHED_MARK = "finished.json"
"""The last file of a run: a folder that holds it is whole."""


def write_atomically(file: Path, text: str) -> None:
    """The whole text or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def append_lines(file: Path, lines: Sequence[str], durable: bool = False) -> None:
    """Appends whole lines, after cutting off a last line that a kill left incomplete.

    ``durable`` lines outlive a power failure, too: for what was paid for.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
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


def drop_after(file: Path, step: int) -> None:
    """Cuts lines of later steps than a resumed checkpoint's: the run will write them again. Atomic."""
    if not file.exists():
        return
    kept = [line for line in read_lines(file) if line["step"] <= step]
    write_atomically(file, "".join(json.dumps(line) + "\n" for line in kept))


def finish(folder: Path, updates: int, commit: str | None) -> None:
    """Marks a run's folder as whole, atomically, with an identity of its own that later stages can refer to."""
    mark = {"updates": updates, "commit": commit, "identity": uuid.uuid4().hex}
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


def prepare_run_dir(folder: Path) -> None:
    """An unfinished run is left to be continued; a finished one is set aside, so that nothing is overwritten."""
    if (folder / FINISHED_MARK).exists():
        print(f"{folder} holds a finished run; it is kept as {set_aside(folder)}", flush=True)
