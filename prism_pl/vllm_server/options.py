"""How a server computes, and the command line that says so."""

import importlib.util
import sys
from dataclasses import dataclass

import torch

from prism_pl.errors import UserError
from prism_pl.ranges import PositiveFloat, PositiveInt, PositiveShare


def check_installed(who: str) -> None:
    """Raises UserError, which begins with ``who``, if there is no vLLM here."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            f"{who}: vllm is not installed. Install it with `pip install -e '.[vllm]'` on a CUDA machine or `make install` "
            f"on a CPU."
        )


def common_variables(cpu_cache_gib: int) -> dict[str, str]:
    """Of each process that vLLM runs in. Its threads would otherwise be bound to cores, and the trainer's with them."""
    return {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_KVCACHE_SPACE": str(cpu_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """A ``vllm serve`` process."""

    dtype: str = "auto"
    """Of weights and activations; ``auto`` is the model's."""
    gpu_memory_utilization: PositiveShare = 0.9
    """Share of each GPU's memory that weights and key-value cache may take."""
    cpu_cache_gib: PositiveInt = 1
    """Size of the key-value cache on a CPU, in GiB."""
    max_num_seqs: PositiveInt = 256
    """Sequences decoded at once."""
    enforce_eager: bool = False
    """Skip graph capture and compilation; right for small models and short runs."""
    tensor_parallel_size: PositiveInt = 1
    """GPUs that share the model."""
    threads: PositiveInt | None = None
    """That it computes with on a CPU; null is as many as this process has."""
    start_limit: PositiveFloat = 1800.0
    """Seconds until it must answer."""

    def arguments(self, model: str, max_model_len: int) -> list[str]:
        """Of the server. ``max_model_len`` are the tokens of prompt and response together."""
        arguments = [
            *("--model", model),
            *("--dtype", self.dtype),
            *("--max-model-len", str(max_model_len)),
            *("--max-num-seqs", str(self.max_num_seqs)),
            *("--tensor-parallel-size", str(self.tensor_parallel_size)),
            *("--limit-mm-per-prompt", '{"video": 0}'),
            *("--seed", "0"),
            "--disable-log-stats",
            "--disable-uvicorn-access-log",
        ]
        if self.enforce_eager:
            arguments.append("--enforce-eager")
        if torch.cuda.is_available():
            arguments += ["--gpu-memory-utilization", str(self.gpu_memory_utilization)]
        else:
            # Whole prompts only: vLLM 0.32 rewinds the seed of a half-read prompt by the generator's offset, which a CPU
            # generator does not have ("CPU Generator does not use offset").
            arguments += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(8192, max_model_len))]
        return arguments

    def variables(self, devices: list[int] | None) -> dict[str, str]:
        """Of its environment. ``devices`` are the numbers of the GPUs that it sees; None hides none of them."""
        own = common_variables(self.cpu_cache_gib) | {"OMP_NUM_THREADS": str(self.threads or torch.get_num_threads())}
        if devices is not None:
            own["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices))
        return own


def program() -> list[str]:
    """What ``vllm serve`` runs for a single engine. The command itself asks for the version of a package called vllm: with
    vllm-cpu it ends before it has begun (0.32)."""
    return [sys.executable, "-m", "vllm.entrypoints.launchers.api_server.entry"]
