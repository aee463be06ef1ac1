"""``--trainer.strategy ddp``: every rank holds whole networks, and gradients alone are exchanged, once an update."""

from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry
from torch.distributed.device_mesh import init_device_mesh

from modules.plain_strategy import PlainStrategy
from modules.strategy import handed_out
from prism_pl.model.sharding import hand_out, shard


class ReplicatedStrategy(PlainStrategy):
    """Data parallelism with whole networks. Lightning's own wraps one network, whose every backward pass exchanges
    gradients; a stage has several networks and passes, and averages what they have added up before it steps.

    Least is exchanged of all strategies, and most is held: for small models, adapters, and frozen ones.
    """

    def configure_ddp(self) -> None:
        """Networks stay as they are. All ranks have loaded and seeded them alike."""

    def take(self, network: Any) -> None:
        """A freshly loaded network. One that no optimizer of the stage has, a probe's, learns outside of its updates: it is
        sharded by FSDP2, which averages its gradients."""
        if self.world_size > 1 and self.optimizers and any(parameter.requires_grad for parameter in network.parameters()):
            shard(network, init_device_mesh(self.root_device.type, (self.world_size,)))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The whole of it on every rank's host; the first rank alone reads."""
        assert self.model is not None
        like = torch.empty(0, device=self.root_device)

        def take(name: str, shape: torch.Tensor, first: torch.Tensor | None) -> torch.Tensor:
            return hand_out(first, shape, like).cpu()

        return handed_out(checkpoint_path, self.is_global_zero, self.model.state_dict().keys(), take)


StrategyRegistry.register("ddp", ReplicatedStrategy, description="Whole networks on every rank", override=True)
