"""``fit``, ``plan`` and ``check-data``: what is parsed alike, and what each does with it."""

import argparse
import sys
from typing import Any

from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from prism_pl.algorithms import AdvantageEstimator, Algorithm, PolicyObjective
from prism_pl.cli.fit import PrismCLI
from prism_pl.command_line import swapping
from prism_pl.command_line.front import run
from prism_pl.command_line.noise import quieten
from prism_pl.commands.check_data import check_data
from prism_pl.commands.plan import plan_arguments, preset_configs, row_of, strategies_of, text_of
from prism_pl.discriminators import Discriminator
from prism_pl.drift import ResponseEncoder
from prism_pl.engines import RolloutEngine
from prism_pl.game import AdversarialAdvantage
from prism_pl.planning.tables import HEADER
from prism_pl.rewards import Reward


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
