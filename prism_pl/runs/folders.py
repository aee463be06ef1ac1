"""Folders that are either complete or absent."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prism_pl.runs.files import unwritten


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yields a scratch folder beside ``target`` and renames it to ``target`` at the end; on an error nothing is left.

    An existing ``target`` is replaced only after the new folder is complete. Raises UserError if there is no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        partial.chmod(0o755)
        yield partial
        put_in_place(partial, target)
    except Exception as error:
        if _no_room(error):
            raise unwritten(target, error) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _no_room(error: Exception) -> bool:
    """safetensors has an error of its own, with the system's in its text."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or any(f"(os error {number})" in str(error) for number in full)


def put_in_place(partial: Path, target: Path) -> None:
    """Gives a complete folder its name; one that has the name already goes afterwards."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        os.rename(target, old / target.name)
        os.rename(partial, target)
        shutil.rmtree(old)
    else:
        os.rename(partial, target)
