"""GPUs and what they can do at most: the makers' data sheets, dense bf16, without sparsity."""

import re
from dataclasses import dataclass

from prism_pl.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Device:
    """Peaks of one GPU."""

    memory: float
    """Bytes that the driver shows."""
    flops: float
    """bf16 matrix products, FLOP/s."""
    flops_fp32: float
    """fp32 matrix products without TF32, FLOP/s."""
    bandwidth: float
    """Of its memory, bytes/s."""
    link: float
    """To the other GPUs of the node, bytes/s in one direction."""


DEVICES = {
    "H100": Device(memory=85.5e9, flops=989e12, flops_fp32=67e12, bandwidth=3.35e12, link=450e9),
    "H200": Device(memory=150.1e9, flops=989e12, flops_fp32=67e12, bandwidth=4.8e12, link=450e9),
    "A100": Device(memory=85.1e9, flops=312e12, flops_fp32=19.5e12, bandwidth=2.04e12, link=300e9),
    "L40S": Device(memory=47.7e9, flops=362e12, flops_fp32=91.6e12, bandwidth=0.864e12, link=32e9),
}
"""SXM modules of 80 (A100, H100) and 141 GB; the L40S is linked by PCIe."""

_UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2.0**20, "GIB": 2.0**30, "TIB": 2.0**40}


def parse_bytes(text: str, key: str) -> float:
    """Bytes of ``80GB`` (10^9) or ``80GiB`` (2^30). Raises UserError naming ``key`` for anything else.

    >>> parse_bytes("80GB", "gpu_memory"), parse_bytes("0.5 GiB", "gpu_memory")
    (80000000000.0, 536870912.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if not found or found[2].upper() not in _UNITS or not float(found[1]):
        raise UserError(f"{key}: {text} is no amount of memory. Write it as 80GB or 80GiB.")
    return float(found[1]) * _UNITS[found[2].upper()]


def device_named(name: str) -> Device | None:
    """The entry that a driver's name (``NVIDIA H100 80GB HBM3``) contains."""
    return next((device for short, device in DEVICES.items() if short in name), None)
