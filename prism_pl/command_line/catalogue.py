"""All commands, known by name: what the overview lists, and where each one's function is, without importing it."""

from dataclasses import dataclass

from prism_pl.errors import UserError, nearest


@dataclass(frozen=True)
class Command:
    """One command; its options are the parameters of its function."""

    name: str
    group: str
    about: str
    """One line."""
    function: str | None
    """``module:name``; None for those that parse a stage's configuration, which the trainer's parser does."""
    configurable: bool = False
    """Whether ``--config`` gives its options, too."""
    positional: str | None = None
    """Its option that takes the words before the first flag, a list."""


CATALOGUE = (
    Command("fit", "Train", "Trains one stage: sft, warmup, align or rlvr.", None),
    Command(
        "pipeline", "Train", "Runs stages in order and writes their report.", "prism_pl.commands.pipeline:pipeline", True
    ),
    Command(
        "study", "Train", "Runs a grid of stages over seeds, measures its arms and compares them.",
        "prism_pl.commands.study:study", True,
    ),
    Command("check-data", "Data", "Reads a stage's data as fit would and names every bad row.", None),
    Command(
        "filter", "Data", "Pass rates of a policy, and the prompts worth training on.",
        "prism_pl.commands.filter:filter_prompts", True,
    ),
    Command(
        "pairs", "Data", "A policy's responses beside the teacher's, for the warm-up.",
        "prism_pl.commands.pairs:make_pairs", True,
    ),
    Command(
        "curate", "Data", "A teacher's verified responses to the prompts that a policy fails.",
        "prism_pl.curation.curating:curate", True,
    ),
    Command("export", "Models", "A checkpoint's models as Hugging Face folders.", "prism_pl.commands.export:export"),
    Command("upcycle", "Models", "A dense Qwen3-VL made a mixture discriminator.", "prism_pl.commands.upcycle:upcycle"),
    Command("plan", "Look", "What a stage needs of its GPUs: memory, work and seconds. Needs none itself.", None),
    Command(
        "measure", "Look", "A policy's held-out figures, with every response.", "prism_pl.commands.measure:measure", True
    ),
    Command(
        "evaluate", "Look", "Models side by side on sets of questions, with intervals.",
        "prism_pl.commands.evaluate:evaluate", True,
    ),
    Command(
        "report", "Look", "Table and page of a run, or of several side by side.", "prism_pl.commands.report:report",
        positional="runs",
    ),
    Command("doctor", "Look", "What this machine has, and what mends what is missing.", "prism_pl.commands.doctor:doctor"),
    Command(
        "completion", "Look", "Prints the script that completes this command line in bash or zsh.",
        "prism_pl.commands.completion:completion",
    ),
)  # fmt: skip


def find_command(name: str) -> Command:
    """Raises UserError with the nearest name and the list for a name that is none."""
    names = [command.name for command in CATALOGUE]
    if name in names:
        return CATALOGUE[names.index(name)]
    raise UserError(f"{name} is no command.{nearest(name, names)} The commands are {', '.join(names)}.")
