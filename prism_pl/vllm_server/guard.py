"""Stands between a server and who started it: when one of the two ends, so do all processes of the server.

A script of its own, ``python -I guard.py PARENT COMMAND...``, where PARENT is the process number of who started it. Its
exit code is the server's, or 128 and the number of the signal that ended it. The server's processes have a process group of
their own, which no terminal's signals reach.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

_POLL_SECONDS = 0.5
_PATIENCE = 10.0
"""Seconds that the server has to end by itself."""
_PR_SET_PDEATHSIG = 1


class _Told(BaseException):
    """To end."""


def main() -> int:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, _on_signal)
    # A terminal or a job sends them to all; whoever started the server says when it is not needed any more.
    for ignored in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    libc = ctypes.CDLL(None)

    def in_the_child() -> None:
        if sys.platform == "linux":
            # Of a kill of the guard the server, too, must hear.
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    # It may be told before it has begun.
    server = None
    try:
        server = subprocess.Popen(command, start_new_session=True, preexec_fn=in_the_child)
        while os.getppid() == parent and not _ended(server.pid):
            time.sleep(_POLL_SECONDS)
    except _Told:
        pass
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _end(server) if server is not None else 0


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise _Told


def _ended(process: int) -> bool:
    """Leaves its number to it, so that the group's number is nobody else's."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(server: "subprocess.Popen[bytes]") -> int:
    if not _ended(server.pid):
        os.killpg(server.pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while not _ended(server.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
    # What is left of it, which may be an engine that did not hear of the end of its server.
    os.killpg(server.pid, signal.SIGKILL)
    code = server.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
