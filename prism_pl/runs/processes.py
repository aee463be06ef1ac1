"""Programs with their output in files, and folders that one program at a time works in, whoever started it."""

import fcntl
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

LOG = "log.txt"
"""The whole output of a stage, of all its starts."""
_POLL_SECONDS = 0.5


class LoggedPrograms:
    """Starts programs and, on request, ends all that run."""

    def __init__(self) -> None:
        self.ended = False
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, command: Sequence[str], log: Path, environment: dict[str, str], kept: Sequence[int] = ()) -> bool:
        """Whether the program ended well; its output is appended to ``log``. ``kept`` descriptors stay open in it."""
        if self.ended:
            return False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT, pass_fds=kept
            )
        self._running.append(process)
        if self.ended:
            process.terminate()
        code = process.wait()
        self._running.remove(process)
        return code == 0

    def end(self) -> None:
        """Asks every program to stop; none is started any more."""
        self.ended = True
        for process in list(self._running):
            process.terminate()


class SoleWorker:
    """Waits until nobody else works in the folder; its ``descriptor`` is for the program that will.

    A program that holds the descriptor keeps the folder even if its starter is killed: the next starter then waits for it
    instead of setting a second one to work beside it. ``entered`` is False if ``programs`` were ended meanwhile.
    """

    def __init__(self, folder: Path, programs: LoggedPrograms) -> None:
        self._folder, self._programs = folder, programs

    def __enter__(self) -> "SoleWorker":
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, which may be renamed meanwhile.
        self._file = self._folder.with_name(f".{self._folder.name}.lock").open("w")
        self.descriptor = self._file.fileno()
        self.entered, told = self._try(), False
        while not self.entered and not self._programs.ended:
            if not told:
                print(f"{self._folder}: a program is still at work in it, waiting for its end\n", end="", flush=True)
                told = True
            time.sleep(_POLL_SECONDS)
            self.entered = self._try()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
