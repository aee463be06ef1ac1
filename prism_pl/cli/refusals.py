"""Strategies, devices and precisions that no stage can be trained with: refused before anything is loaded."""

from collections.abc import Iterator

from jsonargparse import Namespace
from lightning.pytorch.cli import instantiate_class
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from prism_pl.errors import UserError


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
