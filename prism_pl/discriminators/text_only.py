"""No image: the ablation that asks whether the discriminator looks ("parrot alignment", arXiv 2604.28123, ablations)."""

from dataclasses import dataclass
from typing import ClassVar

from prism_pl.discriminators.dedicated import DedicatedExpertsDiscriminator


@dataclass(frozen=True, kw_only=True)
class TextOnlyDiscriminator(DedicatedExpertsDiscriminator):
    """The default's experts and size; images and their tokens are taken out of the prompt."""

    sees_images: ClassVar[bool] = False
