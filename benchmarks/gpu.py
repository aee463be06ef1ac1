"""What one GPU makes of it, in at most nine minutes:

    python -m benchmarks.gpu [--device cpu] [--json runs/gpu.json] [--only head attention]

Every section of ``benchmarks/gpu_sections.py`` is a process of its own with a limit in seconds. A section that fails or
takes too long keeps the lines that it has printed, says what happened, and costs no other one its own. Prints a table and
writes JSON. On a CPU the sections run tiny shapes: a test of the command, no figures.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMITS = {"equality": 100, "policy_step": 75, "scoring": 60, "attention": 110, "head": 60, "fsdp2": 70, "trl": 60}
"""Seconds; together less than nine minutes."""
Row = dict[str, Any]


def run_section(name: str, device: str, limit: float) -> list[Row]:
    """Its lines; the last one has an ``error`` if it did not come to its end within ``limit`` seconds."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        command = [sys.executable, "-m", "benchmarks.gpu_sections", name, device]
        # A session of its own: the compiler's workers go with it.
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            failed = process.wait(limit)
            error = _last_line(err) if failed else None
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            error = f"not done after {limit:.0f} s"
        out.seek(0)
        rows = [json.loads(line) for line in out if line.startswith('{"case"')]
    rows.append({"case": "whole section", "seconds": time.perf_counter() - start})
    if error is not None:
        rows[-1]["error"] = error
    return [{"section": name, **row} for row in rows]


def _last_line(file: Any) -> str:
    file.seek(0)
    lines = [line.strip() for line in file if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


def describe(device: str) -> dict[str, str]:
    """The device and the versions that the figures are of."""
    import torch
    import transformers

    name = torch.cuda.get_device_name() if device == "cuda" else "CPU, tiny shapes: no figures"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


def table(rows: list[Row]) -> str:
    """One line a case."""
    lines = ["| section | case | figures |", "| --- | --- | --- |"]
    for row in rows:
        figures = ", ".join(f"{key} {_shown(value)}" for key, value in row.items() if key not in ("section", "case"))
        lines.append(f"| {row['section']} | {row['case']} | {figures} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--json", type=Path, default=Path("runs/gpu.json"))
    parser.add_argument("--only", nargs="+", choices=[*LIMITS], default=[*LIMITS])
    options = parser.parse_args()
    about = describe(options.device)
    print(*(f"{key}: {value}" for key, value in about.items()), sep="\n", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in options.only:
        rows += run_section(name, options.device, LIMITS[name])
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
