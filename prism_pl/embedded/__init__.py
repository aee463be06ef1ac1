"""The embedded default: ``embedded/digits`` names a small real task and a small real Qwen3-VL, built on first use.

Nothing is downloaded: the images ship with scikit-learn, the demonstrations are composed here and the tokenizer is trained
on them. The folder is made once, atomically, under ``runs/embedded``.
"""

from prism_pl.embedded.build import EMBEDDED_NAME, embedded_folder

__all__ = ["EMBEDDED_NAME", "embedded_folder"]
