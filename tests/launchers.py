"""The ways to start a run on several processes, as a user or a cluster would; all of them can be killed."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from prism_pl.ranks import CHECK_VARIABLE
from tests.command_line import own_environment
from tests.ports import own_port

SHARDED = ("--trainer.strategy=fsdp2", "--trainer.accelerator=cpu")
# Only a hang lasts longer, on however busy a machine: a process that fails ends the wait at once.
_TIMEOUT = 3600


class Processes:
    """What one launch has started; all of it can be killed."""

    def __init__(self, commands: Sequence[tuple[Sequence[str], Mapping[str, str]]], logs: Path) -> None:
        self.logs = [logs.with_name(f"{logs.name}.{number}.log") for number in range(len(commands))]
        logs.parent.mkdir(parents=True, exist_ok=True)
        self.started = []
        for (command, environment), log in zip(commands, self.logs, strict=True):
            with log.open("w") as output:
                self.started.append(
                    subprocess.Popen(
                        command,
                        # torch compares the ranks' collectives: a difference is named instead of waited for.
                        env=own_environment() | {CHECK_VARIABLE: "1"} | environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )

    def finish(self) -> None:
        """Waits until all have ended well. If one has failed, the others would wait for it: they are killed."""
        end = time.monotonic() + _TIMEOUT
        try:
            while not all(process.poll() == 0 for process in self.started):
                assert not any(process.poll() for process in self.started), self._told()
                assert time.monotonic() < end, self._told()
                time.sleep(0.1)
        finally:
            self.kill()

    def _told(self) -> str:
        """How each has ended, or not, and the end of what it has said."""
        ends = (process.poll() for process in self.started)
        return "\n".join(f"{log}, exit {end}\n{log.read_text()[-3000:]}" for log, end in zip(self.logs, ends, strict=True))

    def kill(self) -> None:
        """kill -9 of all, with what they have started."""
        for process in self.started:
            if process.poll() is None:
                # torchrun's workers are leaders of sessions of their own.
                own = psutil.Process(process.pid)
                for descendant in (own, *own.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        descendant.kill()
            process.wait()

    @property
    def alive(self) -> bool:
        return all(process.poll() is None for process in self.started)


def alone(arguments: Sequence[str], logs: Path) -> Processes:
    """One process without a strategy."""
    return Processes([([sys.executable, "-m", "prism_pl", "fit", *arguments], {})], logs)


def lightning(arguments: Sequence[str], logs: Path, devices: int = 2, program: str = "prism_pl") -> Processes:
    """Lightning starts the further processes itself."""
    command = [sys.executable, "-m", program, "fit", *arguments, *SHARDED, f"--trainer.devices={devices}"]
    return Processes([(command, {})], logs)


def torchrun(
    arguments: Sequence[Sequence[str]], logs: Path, per_node: int = 1, *, dynamic: bool = False, restarts: int = 0
) -> Processes:
    """A torchrun on each "node", with the node's arguments; see ``agents``."""
    tail = [*SHARDED, f"--trainer.devices={per_node}"]
    programs = [["-m", "prism_pl", "fit", *own, *tail] for own in arguments]
    return agents(programs, logs, per_node, dynamic=dynamic, restarts=restarts)


def agents(
    programs: Sequence[Sequence[str]], logs: Path, per_node: int, *, dynamic: bool = False, restarts: int = 0
) -> Processes:
    """A torchrun on each "node", with what it starts there in each process.

    ``dynamic`` lets the nodes find each other as docs/scaling.md shows it; torch then chooses the first of them. Otherwise
    it is the first of ``programs``. ``restarts`` is how often they start all processes anew after one has failed.
    """
    port, commands = own_port(), []
    for node, program in enumerate(programs):
        launcher = ["-m", "torch.distributed.run", f"--nnodes={len(programs)}", f"--nproc_per_node={per_node}"]
        launcher += [f"--max_restarts={restarts}"]
        if dynamic:
            launcher += ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}", "--rdzv_id=test"]
        else:
            launcher += [f"--node_rank={node}", "--master_addr=127.0.0.1", f"--master_port={port}"]
        # Without it processes that a restart begins find the addresses of those before: torch keeps them in one store under
        # a number that a node counts up only for its own failures.
        own_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if restarts else {}
        commands.append(([sys.executable, *launcher, *program], own_store))
    return Processes(commands, logs)


def slurm_tasks(tasks: int) -> list[dict[str, str]]:
    """What ``srun`` sets for each task of an sbatch job on one node."""
    job = {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "prism", "SLURM_NODELIST": "localhost", "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NNODES": "1", "SLURM_NTASKS": str(tasks), "SLURM_NTASKS_PER_NODE": str(tasks), "SLURM_NODEID": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(own_port()),
    }  # fmt: skip
    return [job | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(tasks)]


def slurm(arguments: Sequence[str], logs: Path, tasks: int = 2, sharded: Sequence[str] = SHARDED) -> Processes:
    """``srun`` of an sbatch job on one node: a process a task."""
    command = [sys.executable, "-m", "prism_pl", "fit", *arguments, *sharded, f"--trainer.devices={tasks}"]
    return Processes([(command, task) for task in slurm_tasks(tasks)], logs)
