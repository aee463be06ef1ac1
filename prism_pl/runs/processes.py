"""A program run with its output in a file, and folders that only one program at a time works in, whoever started it."""

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LOG = "log.txt"
"""A stage's whole output, of all its starts."""


@contextmanager
def sole_worker(folder: Path) -> Iterator[int]:
    """Waits until nobody else works in the folder; yields a descriptor to hand to the program that will.

    A program that holds it keeps the folder even if its starter is killed: the starter's successor then waits for it
    instead of starting a second one beside it.
    """
    # Beside the folder, which may be renamed meanwhile.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: a program is still at work in it, waiting for its end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


class LoggedPrograms:
    """Starts programs with their output in files, and ends all of them on request."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def run(self, command: Sequence[str], log: Path, environment: dict[str, str], kept: Sequence[int] = ()) -> bool:
        """Whether the program ended well; its output is appended to ``log``. ``kept`` descriptors stay open in it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, pass_fds=kept,
            )  # fmt: skip
        self._running.append(process)
        if self._ended:
            process.terminate()
        code = process.wait()
        self._running.remove(process)
        return code == 0

    def end(self) -> None:
        """Asks every program to stop; none outlives the asking by more than its own cleaning up."""
        self._ended = True
        for process in list(self._running):
            process.terminate()
