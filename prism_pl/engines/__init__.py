"""Rollout engines, chosen by ``class_path``."""

from prism_pl.engines.base import PendingRollouts, RolloutEngine
from prism_pl.engines.process_engine import ProcessEngine
from prism_pl.engines.server_engine import VLLMServerEngine
from prism_pl.engines.several import SeveralEngines, on_devices
from prism_pl.engines.transformers_engine import TransformersEngine
from prism_pl.engines.vllm_engine import VLLMEngine

__all__ = [
    "PendingRollouts",
    "ProcessEngine",
    "RolloutEngine",
    "SeveralEngines",
    "TransformersEngine",
    "VLLMEngine",
    "VLLMServerEngine",
    "on_devices",
]
