"""Callbacks observe, but for two: ``RolloutCallback`` feeds training, ``ConvergenceProbe`` may end a stage."""

from callbacks.convergence import ConvergenceProbe
from callbacks.evaluation import EvaluationCallback
from callbacks.health import HealthAlarm
from callbacks.loggers import JsonlLogger, WandbLogger
from callbacks.progress import UpdateProgress
from callbacks.rollout import RolloutCallback
from callbacks.run_folder import RunFolder
from callbacks.samples import SampleLog
from callbacks.signals import EndWhenAsked

__all__ = [
    "ConvergenceProbe",
    "EndWhenAsked",
    "EvaluationCallback",
    "HealthAlarm",
    "JsonlLogger",
    "RolloutCallback",
    "RunFolder",
    "SampleLog",
    "UpdateProgress",
    "WandbLogger",
]
