"""The grid of a study: which stage of which seed is where, and what each one waits for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prism_pl.errors import UserError
from prism_pl.runs.graph import Node, check_distinct, check_graph, check_known, lineage

SHARED = "shared"
"""Folder of the stages that do not depend on the seed."""
MEASURED = "measured"
"""Folder of the measurements, beside the stages."""


@dataclass(frozen=True)
class Arm:
    """Something to measure: the model of one stage in every seed."""

    name: str
    """As the table calls it."""
    stage: str
    """The stage whose model is measured."""
    against: str | None = None
    """The arm that it is compared with; null is the study's ``reference``."""


@dataclass(frozen=True)
class Plan:
    """A checked grid. Raises UserError for one that cannot be run, before anything is started."""

    run_dir: Path
    stages: Sequence[Node]
    seeds: Sequence[int]
    shared: Sequence[str]
    arms: Sequence[Arm]
    reference: str

    def __post_init__(self) -> None:
        check_graph(self.stages)
        names = [stage.name for stage in self.stages]
        if taken := next((name for name in names if name in (SHARED, MEASURED)), None):
            raise UserError(f"stages: {taken!r} cannot be a stage's name, as a study has such a folder. Take another.")
        for name in self.shared:
            check_known(name, names, "shared", "stage")
        for name in self.shared:
            if own := [other for other in self.lineage(name) if other not in self.shared]:
                raise UserError(
                    f"shared: {name} is made from {own[0]}, which every seed has of its own. Name {own[0]} there, too, or "
                    f"leave {name} out."
                )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: it is {list(self.seeds)}, and must be different whole numbers of at least 0.")
        self._check_arms(names)

    def _check_arms(self, stages: list[str]) -> None:
        names = [arm.name for arm in self.arms]
        if not names:
            raise UserError("arms: the list is empty, so there is nothing to measure.")
        check_distinct(names, "arms", "name")
        check_known(self.reference, names, "reference", "arm")
        for arm in self.arms:
            check_known(arm.stage, stages, f"arms: {arm.name}: stage", "stage")
            if arm.against is not None:
                check_known(arm.against, names, f"arms: {arm.name}: against", "arm")

    def lineage(self, name: str) -> list[str]:
        """A stage and all that it is made from, directly or not."""
        return lineage(self.stages, name)

    def scope(self, name: str, seed: int) -> str:
        """The folder of a stage's run: ``shared`` or the seed's."""
        return SHARED if name in self.shared else f"seed{seed}"

    def folder(self, name: str, seed: int) -> Path:
        """Where a stage's run of a seed is."""
        return self.run_dir / self.scope(name, seed) / name

    def measured(self, name: str, seed: int) -> Path:
        """Where the measurement of a stage's model is."""
        return self.run_dir / self.scope(name, seed) / MEASURED / name

    def against(self, arm: Arm) -> str | None:
        """The arm that an arm is compared with."""
        other = arm.against or self.reference
        return None if other == arm.name else other

    def link_shared(self) -> None:
        """Shows each seed the shared stages, so that its folder is a whole run. Raises UserError for a run in the way."""
        for seed in self.seeds:
            for name in self.shared:
                link = self.run_dir / f"seed{seed}" / name
                link.parent.mkdir(parents=True, exist_ok=True)
                if link.is_symlink():
                    continue
                if link.exists():
                    raise UserError(f"shared: {link} is this seed's own run. Rename it, or take {name} out of `shared`.")
                link.symlink_to(Path("..") / SHARED / name)
