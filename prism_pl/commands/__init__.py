"""The commands beside ``fit``: each builds its parser, and calls one function of the package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser, set_parsing_settings

from prism_pl.commands.check_data import check_data
from prism_pl.commands.export import export
from prism_pl.commands.filter import filter_prompts
from prism_pl.commands.pairs import make_pairs
from prism_pl.commands.pipeline import Stage, run_pipeline
from prism_pl.curation import curate
from prism_pl.data.files import DataPath
from prism_pl.data.row_checks import Requirements
from prism_pl.discriminators import (
    DedicatedExpertsDiscriminator,
    Discriminator,
    SharedMixtureDiscriminator,
    write_upcycled,
)


def _pipeline(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="prism_pl pipeline", exit_on_error=False, description="Runs stages in order.")
    parser.add_argument("--config", action="config", help="A YAML file with the keys below.")
    parser.add_argument("--run_dir", type=str, required=True, help="Folder of all stages.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of every stage.")
    parser.add_argument("--stages", type=list[Stage], required=True, help="Stages in order.")
    config = parser.instantiate_classes(parser.parse_args(arguments))
    run_pipeline(Path(config.run_dir), config.stages, config.seed)
    _write_report(Path(config.run_dir))


def _report(arguments: list[str]) -> None:
    parser = ArgumentParser(prog="prism_pl report", exit_on_error=False, description="Table and page of a pipeline's run.")
    parser.add_argument("--run_dir", type=str, required=True, help="Folder of all stages.")
    _write_report(Path(parser.parse_args(arguments).run_dir))


def _check_data(arguments: list[str]) -> None:
    about = "Reads the training data of a stage's configuration with the real processor and names every bad row."
    parser = ArgumentParser(prog="prism_pl check-data", exit_on_error=False, description=about)
    parser.add_argument("--config", type=str, required=True, help="A stage's configuration.")
    parser.add_argument("--path", type=DataPath | None, default=None, help="Other data than the configuration's.")
    parser.add_argument("--model", type=str | None, default=None, help="Another model than the configuration's.")
    parser.add_argument("--write-clean", type=str | None, default=None, help="Folder to write the good rows to.")
    given = parser.parse_args(arguments)
    data = yaml.safe_load(Path(given.config).read_text(encoding="utf-8"))["data"]
    options = data["init_args"]
    if given.path is None:
        given.path = options["path"]
    config = parser.instantiate_classes(given)
    kind = data["class_path"].rsplit(".", 1)[-1]
    requirements = Requirements(
        needs=tuple(options.get("needs", ("teacher",) if kind == "PairDataModule" else ())),
        max_response_tokens=options.get("max_response_tokens", 8192) if kind == "DemonstrationDataModule" else None,
        drop_too_long=options.get("drop_too_long", False),
        policy_side=kind == "PairDataModule",
    )
    model = config.model or options.get("model") or options["policy"]
    if not check_data(config.path, model, options.get("max_prompt_tokens", 2048), requirements, config.write_clean):
        raise SystemExit(1)


def _filter(arguments: list[str]) -> None:
    about = "Pass rates of a policy over a prompt set, and the prompts worth training on."
    _call("filter", about, filter_prompts, arguments)


def _curate(arguments: list[str]) -> None:
    about = "Verified responses of a teacher behind an OpenAI-compatible endpoint to hard prompts."
    _call("curate", about, curate, arguments)


def _pairs(arguments: list[str]) -> None:
    about = "Samples a policy beside the teacher's responses: pairs for the discriminator's warm-up."
    _call("pairs", about, make_pairs, arguments)


def _call(name: str, about: str, function: Callable[..., None], arguments: list[str]) -> None:
    """A command whose options are a function's parameters."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(prog=f"prism_pl {name}", exit_on_error=False, description=about)
    parser.add_argument("--config", action="config", help="A YAML file with the keys below.")
    parser.add_function_arguments(function, fail_untyped=False)
    config = parser.instantiate_classes(parser.parse_args(arguments))
    function(**{key: value for key, value in config.items() if key != "config"})


def _export(arguments: list[str]) -> None:
    about = "Writes the models of a checkpoint as Hugging Face folders that transformers and vLLM load."
    parser = ArgumentParser(prog="prism_pl export", exit_on_error=False, description=about)
    parser.add_function_arguments(export)
    for folder in export(**parser.parse_args(arguments)):
        print(folder)


def _upcycle(arguments: list[str]) -> None:
    parser = ArgumentParser(
        prog="prism_pl upcycle",
        exit_on_error=False,
        description="Turns a dense Qwen3-VL into a discriminator that is a mixture of experts, shard by shard.",
    )
    parser.add_argument("--model", type=str, required=True, help="Folder or hub name of the dense model.")
    parser.add_argument("--out", type=str, required=True, help="Folder to write; must not exist.")
    parser.add_argument("--experts", type=int, default=4, help="Experts a layer; dedicated ones are shared out evenly.")
    parser.add_argument("--top_k", type=int, default=2, help="Experts a token is sent to.")
    parser.add_argument("--noise", type=float, default=0.01, help="Relative noise on the copies.")
    parser.add_argument("--seed", type=int, default=0, help="Of noise, router and heads.")
    parser.add_argument("--dtype", type=Literal["float32", "bfloat16"], default="float32", help="Of the written weights.")
    parser.add_argument("--shared_router", type=bool, default=False, help="One router and head, as PRISM's released code.")
    config = parser.parse_args(arguments)
    options: dict[str, Any] = {"top_k": config.top_k, "noise": config.noise, "seed": config.seed}
    if config.shared_router:
        mixture: Discriminator = SharedMixtureDiscriminator(num_experts=config.experts, **options)
    else:
        half, rest = divmod(config.experts, 2)
        mixture = DedicatedExpertsDiscriminator(num_perception=half, num_reasoning=half, num_shared=rest, **options)
    parameters = write_upcycled(mixture, config.model, Path(config.out), getattr(torch, config.dtype))
    print(f"{config.out}: {type(mixture).__name__} of {parameters / 1e6:,.1f} M parameters, {config.dtype}")


def _write_report(run_dir: Path) -> None:
    from prism_pl.report import build_report

    print(f"\n{build_report(run_dir)}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "pipeline": _pipeline,
    "report": _report,
    "check-data": _check_data,
    "filter": _filter,
    "pairs": _pairs,
    "curate": _curate,
    "export": _export,
    "upcycle": _upcycle,
}
