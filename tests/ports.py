"""Ports for process groups, safe from being taken between their choice and the first rank's use of them."""

import random
import socket

# Below 32768, where Linux starts to give out ports itself: a store that binds later, as Lightning's and torchrun's do,
# finds its port taken otherwise by any connection that was opened meanwhile.
_PORTS = range(20000, 32000)
_kept: list[socket.socket] = []


def own_port() -> int:
    """A free TCP port that no other test gets as long as this process lives.

    The UDP port of the same number keeps it: bound here, and refused to whoever asks for it, while TCP's stays free.
    """
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            keeper.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("", port))
        except OSError:
            keeper.close()
            continue
        _kept.append(keeper)
        return port
    raise OSError("all ports are taken")
