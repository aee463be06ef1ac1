"""LightningCLI with a run folder and resumption."""

import logging
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch.distributed.constants import default_pg_timeout

from prism_pl.cli.refusals import refuse_half_precision, refuse_strategy
from prism_pl.command_line.mistakes import explain
from prism_pl.commands.plan import check_plan
from prism_pl.errors import UserError, wrapped_mistake
from prism_pl.heartbeat import Heartbeat
from prism_pl.ranks import broadcast_object
from prism_pl.runs.checkpoint import newest_checkpoint
from prism_pl.runs.files import cut_back, take_run_dir

ASKED_EXIT = 75
"""Exit code of a run that a signal has ended after a checkpoint: the same command goes on. EX_TEMPFAIL of sysexits.h."""


class PrismCLI(LightningCLI):
    """LightningCLI with a run folder, a metrics file that is always on, and resumption.

    ``run_dir`` holds everything a run writes. An unfinished run found there is continued, a finished one is set aside.
    """

    def __init__(self, metrics_logger: type[Logger], **kwargs: Any) -> None:
        self._metrics_logger = metrics_logger
        super().__init__(**kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run_dir", type=str, required=True, help="Folder of everything the run writes.")
        parser.add_argument(
            "--ignore_plan", type=bool, default=False, help="Go on though the plan says that it cannot fit."
        )
        parser.link_arguments("run_dir", "trainer.default_root_dir")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "{step}",
                "checkpoint.every_n_train_steps": 20,
                "checkpoint.save_top_k": 1,
                "checkpoint.save_on_train_epoch_end": False,
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.link_arguments("run_dir", "checkpoint.dirpath", compute_fn=_checkpoint_folder)
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments("model.init_args.policy.path", "data.init_args.policy")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            super().parse_arguments(parser, args)
        except ArgumentError as error:
            raise UserError(explain(self._parser("fit"), sys.argv[2:], error)) from error
        config = self.config["fit"]
        if config.trainer.num_nodes == 1 and torch.distributed.is_torchelastic_launched():
            config.trainer.num_nodes = int(os.environ["GROUP_WORLD_SIZE"])
        self.check(config)

    def check(self, config: Namespace) -> None:
        """Raises UserError for what no run could do."""
        refuse_strategy(config.trainer)
        refuse_half_precision(config.trainer)

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        # A checkpoint is data: nothing in it is executed.
        config.weights_only = True
        if config.trainer.enable_progress_bar is False:
            kept = [callback for callback in self.trainer_defaults["callbacks"] if not isinstance(callback, ProgressBar)]
            self.trainer_defaults["callbacks"] = kept
        self._place_loggers(config)

    def fit(self, model: LightningModule, **options: Any) -> None:
        """``Trainer.fit``, after the ranks have agreed on where the run starts."""
        self._plan()
        strategy = self.trainer.strategy
        with ExitStack() as held:
            begin = partial(self._begin, model, options["ckpt_path"], held)
            options["ckpt_path"] = begin() if strategy.launcher is None else strategy.launcher.launch(begin)
            try:
                self._fit(model, options)
            except SIGTERMException:
                # Saved. Lightning's launcher kills the first process if one that it has started ends with an error.
                raise SystemExit(ASKED_EXIT if self.trainer.is_global_zero else 0) from None

    def _fit(self, model: LightningModule, options: dict[str, Any]) -> None:
        if self.trainer.world_size == 1:
            self.trainer.fit(model, **options)
            return
        heartbeat = self._heartbeat()
        heartbeat.start()
        try:
            self.trainer.fit(model, **options)
        except RuntimeError as error:
            error.add_note(heartbeat.explain())
            raise
        except SIGTERMException:
            heartbeat.stop()
            raise
        heartbeat.stop()

    def _plan(self) -> None:
        """On GPUs: says what the stage will need of them, or refuses it, before anything is loaded."""
        trainer = self.trainer
        if not isinstance(trainer.accelerator, CUDAAccelerator):
            return
        config = self.config[self.subcommand]
        memory = torch.cuda.get_device_properties(trainer.strategy.root_device).total_memory
        said = check_plan(config.as_dict(), trainer.world_size, memory, ignore=config.ignore_plan)
        if trainer.is_global_zero:
            print(said)

    def _heartbeat(self) -> Heartbeat:
        trainer, strategy = self.trainer, self.trainer.strategy
        folder = Path(self.config_init[self.subcommand].run_dir) / "heartbeat"
        limit = getattr(strategy, "time_limit", default_pg_timeout.total_seconds())

        def end_own_processes() -> None:
            if isinstance(strategy.launcher, _SubprocessScriptLauncher):
                strategy.launcher.kill(signal.SIGKILL)

        return Heartbeat(folder, trainer.global_rank, trainer.world_size, limit, end_own_processes)

    def _begin(self, model: LightningModule, chosen: str | None, held: ExitStack) -> str | None:
        """The checkpoint to resume from. Only the first process of all looks into the run's folder, which a finished run
        may have to leave first; the others are told, as they may be too early, or on a disk of their own."""
        strategy = self.trainer.strategy
        if self.trainer.world_size > 1:
            strategy.connect(model)
            strategy.setup_environment()
        refusal = None
        if self.trainer.is_global_zero:
            folder = Path(self.config_init[self.subcommand].run_dir)
            try:
                take_run_dir(folder, held)
            except UserError as error:
                refusal = str(error)
            else:
                newest = newest_checkpoint(folder)
                chosen = chosen or (None if newest is None else str(newest))
                if chosen is None:
                    # What a run has logged that did not come to its first checkpoint.
                    cut_back(folder, {})
                else:
                    logging.getLogger(__name__).warning("Resuming from %s.", chosen)
        chosen, refusal = broadcast_object((chosen, refusal))
        if refusal is not None:
            raise UserError(refusal)
        return chosen

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except MisconfigurationException as error:
            raise UserError(f"trainer, checkpoint: {' '.join(str(error).split())}") from error
        except ValueError as error:
            if (mistake := wrapped_mistake(error)) is not None:
                raise mistake from error
            raise

    def _place_loggers(self, config: Any) -> None:
        loggers = config.trainer.logger
        loggers = [] if loggers in (None, True, False) else loggers if isinstance(loggers, list) else [loggers]
        for logger in loggers:
            if logger.init_args.get("save_dir") is None:
                logger.init_args.save_dir = config.run_dir
            if "run_dir" in logger.init_args:
                logger.init_args.run_dir = config.run_dir
        own = {"class_path": f"{self._metrics_logger.__module__}.{self._metrics_logger.__name__}"}
        config.trainer.logger = [{**own, "init_args": {"save_dir": config.run_dir}}, *loggers]


def _checkpoint_folder(run_dir: str | None) -> str | None:
    # It is asked before a missing run_dir is named.
    return None if run_dir is None else str(Path(run_dir) / "checkpoints")
