"""``completion``: a script that completes commands, configurations and options in bash or zsh.

The script holds the names as they are now; it starts no Python while a line is typed.
"""

import textwrap
from typing import Literal

from prism_pl.command_line.catalogue import CATALOGUE, Command
from prism_pl.command_line.configurations import FOLDER, known_configs, read_config, settings, stage_configs
from prism_pl.command_line.outline import options

_FIT = {
    "config", "print_config", "model.help", "data.help", "ckpt_path", "trainer.accelerator", "trainer.devices",
    "trainer.num_nodes", "trainer.strategy", "trainer.precision", "trainer.max_epochs",
}  # fmt: skip
_OWN = {
    "fit": {"ignore_plan"},
    "check-data": {"write-clean"},
    "plan": {"gpus", "gpu", "gpu-memory", "prompt-tokens", "response-tokens", "table"},
}

_BASH = """
# Completion for `python -m prism_pl`. In ~/.bashrc: source <(python -m prism_pl completion --shell bash)
_prism_pl_options() {{
    case "$1" in
{cases}
    esac
}}
_prism_pl() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" place
    COMPREPLY=()
    for ((place = 2; place < COMP_CWORD; place++)); do
        [[ "${{COMP_WORDS[place-1]}} ${{COMP_WORDS[place]}}" == "-m prism_pl" ]] && break
    done
    # Another call of python; it gets files, as does whatever stays without a reply.
    ((place < COMP_CWORD)) || return 0
    # `--config=name` comes as three words.
    [[ $before == = ]] && before="${{COMP_WORDS[COMP_CWORD-2]}}"
    [[ $current == = ]] && current=""
    if ((place == COMP_CWORD - 1)); then
        COMPREPLY=($(compgen -W "{commands}" -- "$current"))
    elif [[ $before == --config ]]; then
        COMPREPLY=($(compgen -W "{configs}" -- "$current"))
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(_prism_pl_options "${{COMP_WORDS[place+1]}}")" -- "$current"))
    fi
}}
complete -o default -F _prism_pl python python3
""".lstrip()

_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"


def completion(shell: Literal["bash", "zsh"]) -> None:
    """Prints the script; `source <(python -m prism_pl completion --shell bash)` turns completion on.

    Args:
        shell: bash or zsh.
    """
    print(script(shell), end="")


def script(shell: Literal["bash", "zsh"]) -> str:
    """zsh reads bash's script through its own ``bashcompinit``."""
    lines = [f"{command.name}) echo '{' '.join(option_names(command))}' ;;" for command in CATALOGUE]
    commands = " ".join(command.name for command in CATALOGUE)
    text = _BASH.format(
        cases=textwrap.indent("\n".join(lines), " " * 8), commands=commands, configs=" ".join(known_configs())
    )
    return _ZSH + text if shell == "zsh" else text


def option_names(command: Command) -> list[str]:
    """A stage has those that any of its configurations sets: a class's further ones depend on the class."""
    if command.function is not None:
        names = {option.name for option in options(command.function)} - {command.positional}
        names |= {"config"} if command.configurable else set()
    else:
        keys = {key for name in stage_configs() for key, _ in settings(read_config(FOLDER / name))}
        names = keys | _FIT | _OWN[command.name]
    return sorted(f"--{name}" for name in {*names, "help", "help-all"})
