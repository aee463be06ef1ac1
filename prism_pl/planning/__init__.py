"""What a run will need, before the first second on a GPU: memory by part and phase, work, seconds. Arithmetic alone.

Formulas stand at the head of each file; docs/scaling.md holds them beside torch's own trackers and measured peaks.
"""

from prism_pl.planning.architecture import Architecture
from prism_pl.planning.devices import DEVICES, Device, device_named, parse_bytes
from prism_pl.planning.memory import Phase, Plan, make_plan
from prism_pl.planning.names import Origin, architecture_of
from prism_pl.planning.remedies import Remedy, nearest_fit
from prism_pl.planning.settings import Settings, Workload, read_settings
from prism_pl.planning.work import Work, forward_flops, make_work

__all__ = [
    "DEVICES",
    "Architecture",
    "Device",
    "Origin",
    "Phase",
    "Plan",
    "Remedy",
    "Settings",
    "Work",
    "Workload",
    "architecture_of",
    "device_named",
    "forward_flops",
    "make_plan",
    "make_work",
    "nearest_fit",
    "parse_bytes",
    "read_settings",
]
