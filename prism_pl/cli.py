"""The command line: ``fit`` through LightningCLI, and the other commands. The only Lightning import of the package."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import transformers
from jsonargparse import ArgumentError, set_parsing_settings
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer

from prism_pl.algorithms import AdvantageEstimator, Algorithm, PolicyObjective
from prism_pl.commands import COMMANDS
from prism_pl.commands.export import newest_checkpoint
from prism_pl.discriminators import Discriminator
from prism_pl.engines import RolloutEngine
from prism_pl.errors import UserError
from prism_pl.game import AdversarialAdvantage
from prism_pl.rewards import Reward
from prism_pl.runs.files import prepare_run_dir

_CONFIG_FOLDER = Path(__file__).parent.parent / "configs"
# Lines that other libraries print at every start and that no user can act on.
_NOISE = (
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*reduce_op.*",
    ".*does not have many workers.*",
    ".*module\\(s\\) in eval mode.*",
    ".*overridden `transfer_batch_to_device`.*",
    ".*pin_memory.*",
    ".*ModelCheckpoint with manual optimization.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    # True of other loaders; ours goes on at the right row (datamodules/order.py).
    ".*resuming from a checkpoint that ended before the epoch.*",
)
_LOGGED_NOISE = {"lightning.pytorch.utilities.rank_zero": "Tip", "DeepSpeed": "Setting accelerator to CPU"}


class _Without(logging.Filter):
    """Drops the records that contain a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        return self.text not in record.getMessage()


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
        parser.link_arguments("run_dir", "checkpoint.dirpath", compute_fn=lambda folder: str(Path(folder) / "checkpoints"))
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments("model.init_args.policy.path", "data.init_args.policy")

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        # Only the first process decides: the others are started when the folder is already prepared.
        if int(os.environ.get("LOCAL_RANK", "0")) == 0:
            prepare_run_dir(Path(config.run_dir))
        if config.ckpt_path is None:
            newest = newest_checkpoint(Path(config.run_dir))
            config.ckpt_path = None if newest is None else str(newest)
        # A checkpoint is data: nothing in it is executed.
        config.weights_only = True
        if config.ckpt_path is not None:
            logging.getLogger(__name__).warning("Resuming from %s.", config.ckpt_path)
        self._place_loggers(config)

    def _place_loggers(self, config: Any) -> None:
        loggers = config.trainer.logger
        loggers = [] if loggers in (None, True, False) else loggers if isinstance(loggers, list) else [loggers]
        for logger in loggers:
            if logger.init_args.get("save_dir") is None:
                logger.init_args.save_dir = config.run_dir
        own = {"class_path": f"{self._metrics_logger.__module__}.{self._metrics_logger.__name__}"}
        config.trainer.logger = [{**own, "init_args": {"save_dir": config.run_dir}}, *loggers]


def main(always_on: list[type[Callback]], metrics_logger: type[Logger]) -> None:
    """Runs a command line and exits: 0 if all is well, 2 after a mistake that the user can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for pattern in _NOISE:
        warnings.filterwarnings("ignore", message=pattern)
    for logger, line in _LOGGED_NOISE.items():
        logging.getLogger(logger).addFilter(_Without(line))
    transformers.utils.logging.disable_progress_bar()
    arguments = with_own_defaults(with_config_folder(sys.argv[1:]))
    try:
        if arguments and arguments[0] in COMMANDS:
            COMMANDS[arguments[0]](arguments[1:])
        else:
            _fit(arguments, always_on, metrics_logger)
    except UserError as error:
        _fail(error)
    except ArgumentError as error:
        _fail(error)


def _fail(error: Exception) -> None:
    # An error of a data worker arrives as its traceback; its last paragraph is the message.
    message = str(error).rsplit("UserError: ", 1)[-1].strip()
    print(f"\nerror: {message}", file=sys.stderr)
    raise SystemExit(2)


def _fit(arguments: list[str], always_on: list[type[Callback]], metrics_logger: type[Logger]) -> None:
    # Field docstrings are the help text of dataclass options.
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    # LightningCLI, and the processes it starts for further devices, read the command line themselves.
    sys.argv[1:] = arguments
    PrismCLI(
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
    """A class named on the command line starts from its own defaults.

    jsonargparse keeps every value of the class before that the new one also accepts (its issue 460): GRPO's clip range
    would end up in GSPO. Setting the key to null first is the way to forget them. For a class within a class it takes no
    null; there the new class's defaults are spelt out.
    """
    result: list[str] = []
    for index, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        value = value if equals else "".join(arguments[index + 1 : index + 2])
        key, chosen = key.removesuffix(".class_path"), _subclasses(_SWAPPABLE).get(value.rsplit(".", 1)[-1])
        if not key.startswith("--") or chosen is None:
            result.append(argument)
        elif issubclass(chosen, _NESTED):
            options = [field for field in fields(chosen) if field.default is not None]  # type: ignore[arg-type]
            result += [f"{key}={value}", *(f"{key}.{field.name}={field.default}" for field in options)]
        else:
            result += [f"{key}=null", argument]
    return result


_NESTED = (AdvantageEstimator, PolicyObjective)
_SWAPPABLE = (AdversarialAdvantage, Algorithm, Discriminator, Optimizer, Reward, RolloutEngine, *_NESTED)


def _subclasses(bases: Sequence[type]) -> dict[str, type]:
    """All subclasses by name."""
    found: dict[str, type] = {}
    for base in bases:
        own: list[type] = base.__subclasses__()
        found |= {cls.__name__: cls for cls in own} | _subclasses(own)
    return found


def with_config_folder(arguments: list[str]) -> list[str]:
    """A bare configuration name is looked up in the current folder, then in ``configs/``.

    Raises UserError if it is in neither.
    """
    result = list(arguments)
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-c") and equals:
            result[index] = f"{flag}={_find_config(value)}"
        elif index and arguments[index - 1] in ("--config", "-c"):
            result[index] = _find_config(argument)
    return result


def _find_config(name: str) -> str:
    for path in (Path(name), _CONFIG_FOLDER / name):
        if path.is_file():
            return str(path)
    known = ", ".join(sorted(str(path.relative_to(_CONFIG_FOLDER)) for path in _CONFIG_FOLDER.rglob("*.yaml")))
    raise UserError(f"--config: {name} is neither in the current folder nor in configs/, which holds {known}.")
