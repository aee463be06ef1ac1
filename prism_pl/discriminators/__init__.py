"""Discriminators by ``class_path``; all share one way of reading, scoring, saving and loading."""

from prism_pl.discriminators.base import Discriminator, load_scorer
from prism_pl.discriminators.dedicated import DedicatedExpertsDiscriminator
from prism_pl.discriminators.dense import DenseDiscriminator
from prism_pl.discriminators.model import Scorer
from prism_pl.discriminators.reading import Reading
from prism_pl.discriminators.shared import SharedMixtureDiscriminator
from prism_pl.discriminators.text_only import TextOnlyDiscriminator
from prism_pl.discriminators.writing import write_upcycled

__all__ = [
    "DedicatedExpertsDiscriminator",
    "DenseDiscriminator",
    "Discriminator",
    "Reading",
    "Scorer",
    "SharedMixtureDiscriminator",
    "TextOnlyDiscriminator",
    "load_scorer",
    "write_upcycled",
]
