"""The policy's part of a step, shared by alignment and RLVR: log-probabilities and updates of a rollout batch."""

from collections.abc import Mapping, Sequence

import torch
from torchmetrics import Metric

from modules.stage import StageModule
from prism_pl.algorithms import Algorithm
from prism_pl.algorithms.importance import MismatchOptions
from prism_pl.algorithms.policy_update import (
    Advantages,
    PolicyUpdate,
    ReuseOptions,
    RolloutTerms,
    add_input_metrics,
    add_trained_share,
    groups_of,
    make_updates,
    nonfinite_responses,
    trained_rows,
    update_metrics,
)
from prism_pl.errors import UserError
from prism_pl.model.packing import by_index
from prism_pl.model.policy import Policy
from prism_pl.model.sharding import move
from prism_pl.types import Rollouts


class PolicyStep:
    """Made once a run.

    Args:
        stage: whose metrics, main optimizer and ranks it uses.
        policy: what is trained.
        algorithm: its loss.
        reuse: updates on each rollout batch.
        mismatch: correction for the difference between engine and trainer.
        reference: name of the model that the algorithm's divergence is taken from; it is loaded only if there is one.
        purpose: the configuration key of that name, for error messages.
    """

    def __init__(
        self,
        stage: StageModule,
        policy: Policy,
        algorithm: Algorithm,
        reuse: ReuseOptions,
        mismatch: MismatchOptions,
        reference: str,
        purpose: str,
    ) -> None:
        _check_mini_batches(stage, reuse)
        self.stage = stage
        self.policy = policy
        self.algorithm = algorithm
        self.reuse = reuse
        self.mismatch = mismatch
        # Here and not in the stage, whose checkpoints would hold it: it never changes.
        self._reference: Policy | None = None
        if algorithm.uses_reference:
            self._reference = Policy.load(reference, purpose, as_stored=True).requires_grad_(False).eval()
            stage.prepare(self._reference)

    def metrics(self) -> dict[str, Metric]:
        """What ``update`` adds to."""
        return self.algorithm.metrics() | update_metrics(self.mismatch) | self.stage.update_metrics("policy")

    def logprobs(self, rollouts: Rollouts, rows: Sequence[int] | None = None) -> dict[int, torch.Tensor]:
        """Log-probabilities of responses' tokens under the present weights, by index in B; of all responses by default."""
        return response_logprobs(self.stage, self.policy, rollouts, rows)

    def reference_logprobs(self, rollouts: Rollouts) -> dict[int, torch.Tensor]:
        """The same of all responses under the reference, which the algorithm must use."""
        assert self._reference is not None
        move(self._reference, self.stage.device)
        return response_logprobs(self.stage, self._reference, rollouts)

    def update(
        self,
        rollouts: Rollouts,
        advantages: Advantages,
        old_logp: Mapping[int, torch.Tensor] | None = None,
        reference_logp: Mapping[int, torch.Tensor] | None = None,
    ) -> None:
        """The optimizer steps on a rollout batch, fewer if ``max_steps`` is reached on the way.

        ``old_logp`` are the log-probabilities under the present weights, if they are known already.
        """
        updates = make_updates(rollouts, advantages, self.reuse, all_rows=self.algorithm.needs_all_rows)
        rows = trained_rows(updates)
        add_trained_share(rows, advantages.whole_PG.numel(), self.stage.metrics)
        if len(updates) == 1:
            # Exactly on-policy: its own log-probabilities are the old ones.
            old_logp = None
        elif old_logp is None:
            old_logp = self.logprobs(rollouts, rows)
        terms = RolloutTerms(rollouts, advantages, self.mismatch, old_logp, reference_logp)
        for number, update in enumerate(updates):
            if self.stage.finished():
                break
            self._one_update(update, terms, first_epoch=number < len(updates) // self.reuse.epochs)

    def _one_update(self, update: PolicyUpdate, terms: RolloutTerms, *, first_epoch: bool) -> None:
        stage, metrics = self.stage, self.stage.metrics
        totals = stage.all_reduce(torch.tensor([update.num_tokens, update.num_responses])).tolist()
        for packed, is_filler in stage.micro_batches(update.groups):
            temperature = terms.rollouts.sampling.temperature
            logp_BT, entropy_BT = stage.runs(self.policy)(packed, temperature, self.algorithm.entropy_weight > 0)
            if is_filler:
                stage.backward_filler(logp_BT)
                continue
            inputs = terms.loss_inputs(packed, logp_BT, entropy_BT, totals)
            add_input_metrics(inputs, metrics, first_epoch=first_epoch)
            loss = self.algorithm.loss(inputs, metrics)
            stage.backward_share(loss, nonfinite_responses(inputs, packed, terms.rollouts))
        stage.apply_gradients(stage.main_optimizer, "policy")


@torch.no_grad()
def response_logprobs(
    stage: StageModule, policy: Policy, rollouts: Rollouts, rows: Sequence[int] | None = None
) -> dict[int, torch.Tensor]:
    """Log-probabilities of responses' tokens under a policy's weights, by index in B; of all responses by default."""
    rows = range(len(rollouts.flat_responses)) if rows is None else rows
    result: dict[int, torch.Tensor] = {}
    for packed, is_filler in stage.micro_batches(groups_of(rollouts, rows)):
        logp_BT, _ = stage.runs(policy)(packed, rollouts.sampling.temperature)
        if not is_filler:
            result.update(by_index(logp_BT, packed))
    return result


def _check_mini_batches(stage: StageModule, reuse: ReuseOptions) -> None:
    """Raises UserError if a rank had no prompt for some of the updates: they would be left out."""
    # A user's own datamodule need not have it.
    batch_size = getattr(stage.trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
    count = stage.trainer.world_size
    if batch_size is not None and batch_size < reuse.mini_batches * count:
        raise UserError(
            f"model.reuse.mini_batches: {reuse.mini_batches} updates a batch need as many prompts on each device, and "
            f"data.batch_size is {batch_size} over {count}. Make it {reuse.mini_batches * count} or more, or take fewer "
            f"mini-batches."
        )
