"""``fit``, ``plan`` and ``check-data`` through LightningCLI. The only Lightning import of the package."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, Namespace, set_parsing_settings
from lightning.pytorch import LightningModule
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch.distributed.constants import default_pg_timeout
from torch.optim import Optimizer

from prism_pl.algorithms import AdvantageEstimator, Algorithm, PolicyObjective
from prism_pl.command_line import swapping
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import run
from prism_pl.command_line.mistakes import explain
from prism_pl.command_line.noise import quieten
from prism_pl.commands.check_data import check_data
from prism_pl.commands.plan import check_plan, plan_arguments, preset_configs, row_of, strategies_of, text_of
from prism_pl.discriminators import Discriminator
from prism_pl.drift import ResponseEncoder
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError, wrapped_mistake
from prism_pl.game import AdversarialAdvantage
from prism_pl.heartbeat import Heartbeat
from prism_pl.planning.tables import HEADER
from prism_pl.ranks import broadcast_object
from prism_pl.rewards import Reward
from prism_pl.runs.checkpoint import newest_checkpoint
from prism_pl.runs.files import cut_back, take_run_dir

__all__ = ["PrismCLI", "main", "with_config_folder", "with_own_defaults"]

ASKED_EXIT = 75
"""Exit code of a run that a signal has ended after a checkpoint: the same command goes on. EX_TEMPFAIL of sysexits.h."""


def refuse_strategy(options: Namespace) -> None:
    """Raises UserError for devices or a precision that the strategy cannot hold a stage in, before anything is loaded."""
    strategy = options.strategy
    if not isinstance(strategy, str):
        strategy = instantiate_class((), {"class_path": strategy.class_path, "init_args": dict(strategy.init_args)})
    try:
        connector = _AcceleratorConnector(
            accelerator=options.accelerator, devices=options.devices, num_nodes=options.num_nodes, strategy=strategy
        )
    except (MisconfigurationException, ValueError, ModuleNotFoundError) as error:
        raise UserError(f"trainer: {error}") from error
    name = type(connector.strategy).__name__
    rounding = [(key, precision) for key, precision in _precisions(options) if precision in ("bf16", "bf16-mixed")]
    if getattr(connector.strategy, "holds_stages", False):
        for key, precision in rounding if not connector.strategy.computes_in_bf16 else ():
            raise UserError(
                f"{key}: {name} computes in {precision} with the weights of heads and routers rounded, too, on which "
                f"scores depend. Leave it out, or use `--trainer.strategy fsdp2`, which keeps these in fp32."
            )
        return
    count = options.num_nodes * getattr(connector.strategy, "num_processes", 1)
    if count > 1 or name == "DeepSpeedStrategy":
        raise UserError(
            f"trainer.strategy: {name} cannot run several backward passes an update on {count} devices. Use "
            f"`--trainer.strategy fsdp2`, or ddp, deepspeed_stage_2 or deepspeed_stage_3."
        )
    for key, precision in rounding:
        raise UserError(
            f"{key}: {precision} under {name} is autocast, which would round scores and the experts' choice too. "
            f"Add `--trainer.strategy fsdp2`, which keeps these in fp32 and runs on one device as well."
        )


def refuse_half_precision(options: Namespace) -> None:
    """Raises UserError for fp16, whose loss scale needs updates that are not finite: they are left out here, so it would
    never fall; and gradients would be clipped before they are scaled back. And for weights that are bf16 themselves."""
    for key, precision in _precisions(options):
        if precision.startswith("16") or precision == "transformer-engine-float16":
            raise UserError(
                f"{key}: {precision} computes in fp16, which no stage can train in: its loss scaling and the check for "
                f"gradients that are not finite exclude each other. Use `--trainer.precision bf16-mixed`."
            )
        if precision == "bf16-true":
            raise UserError(
                f"{key}: {precision} keeps the weights in bf16, where an update of less than 0.4 % of a weight is lost. "
                f"Use `--trainer.precision bf16-mixed`, which computes in bf16 with weights in fp32."
            )


def _precisions(options: Namespace) -> Iterator[tuple[str, str]]:
    plugins = options.plugins if isinstance(options.plugins, list) else [options.plugins]
    yield "trainer.precision", str(options.precision)
    for plugin in plugins:
        if plugin:
            yield "trainer.plugins", str(getattr(plugin, "init_args", {}).get("precision"))


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


class DataCLI(PrismCLI):
    """Parses what ``fit`` parses, and builds the data module alone."""

    def check(self, config: Namespace) -> None:
        """The data may be looked at on another machine than the run's."""

    def before_instantiate_classes(self) -> None:
        """A run's folder is left alone."""

    def instantiate_classes(self) -> None:
        own = Namespace(data=self.config[self.subcommand].data)
        self.datamodule = self._parser(self.subcommand).instantiate(own).data

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is trained."""


class PlanCLI(DataCLI):
    """Parses what ``fit`` parses, and builds nothing."""

    def instantiate_classes(self) -> None:
        """The keys are enough."""


def _checkpoint_folder(run_dir: str | None) -> str | None:
    # It is asked before a missing run_dir is named.
    return None if run_dir is None else str(Path(run_dir) / "checkpoints")


def main(always_on: list[type[Callback]], metrics_logger: type[Logger]) -> None:
    """Runs the process's command line; exits with 2 after a mistake that the user can mend."""
    run(sys.argv[1:], lambda name, arguments: stage_command(name, arguments, always_on, metrics_logger))


def stage_command(name: str, arguments: list[str], always_on: list[type[Callback]], metrics_logger: type[Logger]) -> None:
    """``fit``, ``plan``, or ``check-data``, which exits with 1 if a run would stop."""
    quieten()
    if name == "fit":
        _parse(PrismCLI, arguments, always_on, metrics_logger)
        return
    if name == "plan":
        _plan(arguments, always_on, metrics_logger)
        return
    own, arguments = _check_options(arguments)
    cli = _parse(DataCLI, arguments, always_on, metrics_logger)
    if not check_data(cli.datamodule.checks(), own.write_clean):
        raise SystemExit(1)


def _plan(arguments: list[str], always_on: list[type[Callback]], metrics_logger: type[Logger]) -> None:
    """Prints the plan of a stage, its table of strategies, or a table of all configurations in a folder."""
    options, table, strategies, arguments = plan_arguments(arguments)

    def config_of(files: list[str]) -> dict[str, Any]:
        return _parse(PlanCLI, [*files, *arguments], always_on, metrics_logger).config["fit"].as_dict()

    if table is None:
        config = config_of([])
        print("\n".join(strategies_of(config, options)) if strategies else text_of(config, options))
    else:
        rows = [row_of(name, config_of(files), options) for name, files in preset_configs(table).items()]
        print("\n".join([*HEADER, *rows]))


def _check_options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of ``check-data`` that ``fit`` has not, and the others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--write-clean")
    return parser.parse_known_args(arguments)


def _parse(
    cli: type[PrismCLI], arguments: list[str], always_on: list[type[Callback]], metrics_logger: type[Logger]
) -> PrismCLI:
    # Field docstrings are the help text of dataclass options.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    # LightningCLI, and the processes it starts for further devices, read the command line themselves.
    sys.argv[1:] = ["fit", *with_own_defaults(arguments)]
    return cli(
        metrics_logger=metrics_logger,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"exit_on_error": False},
        trainer_defaults={
            "callbacks": [callback() for callback in always_on],
            "max_epochs": -1,
            "log_every_n_steps": 1,
            # Our batches are already shared out over the ranks.
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
        },
    )


def with_own_defaults(arguments: list[str]) -> list[str]:
    """A class named on the command line starts from its own defaults."""
    return swapping.with_own_defaults(arguments, _SWAPPABLE, _NESTED)


_NESTED = (AdvantageEstimator, PolicyObjective)
_SWAPPABLE = (AdversarialAdvantage, Algorithm, Discriminator, Optimizer, ResponseEncoder, Reward, RolloutEngine, *_NESTED)
