"""A callback that makes NaN of what a network gives, in the batches that it is told."""

from typing import Any

import lightning as L
import torch


class Poison(L.Callback):
    """On the first rank alone: the others must follow it.

    Args:
        policy: batches in which the log-probabilities of the rank's second response are NaN while the policy learns.
        discriminator: batches in which the score of the rank's third segment, the first response's caption, is NaN.
    """

    def __init__(self, policy: list[int], discriminator: list[int] | None = None) -> None:
        self.batches = {"policy": policy, "discriminator": discriminator or []}
        self._hooks: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        poisons = {"policy": poison_response, "discriminator": poison_segment}
        for name, poison in poisons.items():
            if trainer.is_global_zero and batch_idx in self.batches[name]:
                self._hooks.append(getattr(pl_module, name).register_forward_hook(poison))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for hook in self._hooks:
            hook.remove()


def poison_response(module: Any, arguments: Any, output: Any) -> Any:
    # The probe and the old log-probabilities are left alone: they have no gradient. A factor makes NaN of that, too.
    logp_BT, entropy_BT = output
    bad_B = (arguments[0].order_B == 1) & torch.is_grad_enabled()
    return logp_BT * torch.where(bad_B[:, None], torch.nan, 1.0), entropy_BT


def poison_segment(module: Any, arguments: Any, output: Any) -> Any:
    score_B, usage = output
    return score_B * torch.where(arguments[0].order_B == 2, torch.nan, 1.0), usage
