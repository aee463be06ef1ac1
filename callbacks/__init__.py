"""Callbacks. ``RolloutCallback`` feeds training; every other one only observes."""

from callbacks.evaluation import EvaluationCallback
from callbacks.loggers import JsonlLogger, WandbLogger
from callbacks.progress import UpdateProgress
from callbacks.rollout import RolloutCallback
from callbacks.run_folder import RunFolder
from callbacks.samples import SampleLog

__all__ = [
    "EvaluationCallback",
    "JsonlLogger",
    "RolloutCallback",
    "RunFolder",
    "SampleLog",
    "UpdateProgress",
    "WandbLogger",
]
