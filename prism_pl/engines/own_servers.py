"""The vLLM servers that an engine starts on its machine, and starts again."""

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import prism_pl
from prism_pl.errors import UserError
from prism_pl.vllm_server import ServerEndedError, ServerOptions, VLLMServer

_log = logging.getLogger(__name__)
_ROOT = str(Path(prism_pl.__file__).parents[1])
EXTENSION = "prism_pl.vllm_server.gloo_transfer.Extension"
"""What a server must import to take weights over gloo."""


def check_devices(devices: Sequence[int] | None, num_servers: int, size: int, count: int) -> None:
    """Raises UserError unless each of the servers has ``size`` GPUs of its own, of the ``count`` that are here."""
    if num_servers and count:
        needed, own = num_servers * size, devices or []
        if len(own) != needed or len(set(own)) < needed or max(own) >= count:
            raise UserError(
                f"VLLMServerEngine.devices: {num_servers} servers of tensor_parallel_size {size} need {needed} GPUs that "
                f"no trainer is on, by their numbers below {count}. It is {devices}."
            )
    elif devices is not None:
        raise UserError(
            "VLLMServerEngine.devices: they are the GPUs of servers that are started here, and there are none. Leave "
            "it out."
        )


class OwnServers:
    """A number of them, all alike.

    Args:
        folder: the model.
        max_model_len: tokens of prompt and response together.
        transfer: the way of the weights, ``nccl`` or ``gloo``.
        devices: the GPUs of each server; None on a CPU.
        restarts: how often each is started again.
        log_folder: where their output goes; None is a new one.
    """

    def __init__(
        self,
        folder: str,
        max_model_len: int,
        options: ServerOptions,
        transfer: str,
        devices: Sequence[list[int] | None],
        restarts: int,
        log_folder: str | None,
    ) -> None:
        self._restarts = [restarts] * len(devices)
        logs = Path(log_folder or tempfile.mkdtemp(prefix="vllm_servers_"))
        arguments = [
            # The probability under temperature, which is what the trainer computes.
            *("--logprobs-mode", "processed_logprobs"),
            *("--weight-transfer-config", f'{{"backend": "{transfer}"}}'),
            # A pause forgets the images on both sides of it one after the other, and questions come meanwhile.
            *("--mm-processor-cache-gb", "0"),
            # Tokens in, tokens out.
            "--enable-scale-out",
        ]
        if transfer == "gloo":
            arguments += ["--worker-extension-cls", EXTENSION]
        # Without it a server takes no weights. Its workers import this project, wherever it was started.
        variables = {
            "VLLM_SERVER_DEV_MODE": "1",
            "PYTHONPATH": os.pathsep.join(path for path in (_ROOT, os.environ.get("PYTHONPATH")) if path),
        }
        self.servers = [
            VLLMServer(
                folder,
                max_model_len,
                options,
                logs / f"server{number}.log",
                f"vLLM server {number}",
                own,
                arguments,
                variables,
            )
            for number, own in enumerate(devices)
        ]

    def start(self) -> None:
        """All at once. Raises ServerEndedError if one of them does not."""
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait()

    def start_again(self, number: int) -> bool:
        """Whether it runs again, or still."""
        if not self._restarts[number]:
            return False
        self._restarts[number] -= 1
        server = self.servers[number]
        server.close()
        try:
            server.start()
            server.wait()
        except ServerEndedError as error:
            _log.warning("%s It stays left out.", error)
            return False
        _log.warning("%s was started again, and gets the newest weights.", server.name)
        return True

    def close(self) -> None:
        for server in self.servers:
            server.close()
