"""One LightningModule a stage. No tensor maths: they unpack, call prism_pl, log and return."""

from modules.align import AdversarialAlignModule
from modules.discriminator import DiscriminatorModule
from modules.replicated_strategy import ReplicatedStrategy
from modules.rlvr import RLVRModule
from modules.sft import SFTModule
from modules.strategy import FSDP2Strategy
from modules.zero_strategy import ZeroStrategy

__all__ = [
    "AdversarialAlignModule",
    "DiscriminatorModule",
    "FSDP2Strategy",
    "RLVRModule",
    "ReplicatedStrategy",
    "SFTModule",
    "ZeroStrategy",
]
