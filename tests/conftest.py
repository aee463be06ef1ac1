"""Fixtures shared by all tests: the embedded task and the small real models on it, loaded once a session."""

import copy
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from PIL import Image

from prism_pl.data.conversation import PromptEncoder, PromptRow
from prism_pl.data.files import DataFile
from prism_pl.data.images import ImageFile
from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt
from tests.plain_forward import add_noise
from tests.ports import own_port

# Of a sharded fit in this process.
os.environ["MASTER_PORT"] = str(own_port())
# The models are tiny: a second thread only waits, and waits badly beside a training run.
torch.set_num_threads(1)
# No test may fail because the machine is busy.
settings.register_profile("prism", deadline=None)
# Ten times the examples: pytest --hypothesis-profile thorough FILE
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("prism")


@pytest.fixture(scope="session")
def embedded() -> Path:
    """The folder of the embedded task; built under runs/embedded by the first test session of a checkout."""
    return embedded_folder().resolve()


@pytest.fixture(scope="session")
def encoder(embedded: Path) -> PromptEncoder:
    return PromptEncoder(EMBEDDED_NAME, 256)


@pytest.fixture(scope="session")
def prompts(encoder: PromptEncoder) -> list[Prompt]:
    """Six prompts with an image of 96x32 and a teacher's response each."""
    data = DataFile.open(f"{EMBEDDED_NAME}/align.jsonl", "test")
    return encoder.encode([data.prompt_row(index) for index in range(6)])


@pytest.fixture(scope="session")
def policy(embedded: Path) -> Policy:
    """The embedded start model in fp32. Shared by all tests: copy it before changing its weights."""
    return Policy.load(EMBEDDED_NAME, "test").eval()


@pytest.fixture(scope="session")
def lively_policy(policy: Policy) -> Policy:
    """The same with noise on all weights. Shared by all tests: copy it before changing its weights."""
    lively = copy.deepcopy(policy)
    add_noise(lively)
    return lively


@pytest.fixture(scope="session")
def discriminator(embedded: Path) -> Scorer:
    """The default, built from the embedded start model. Shared by all tests: copy it before changing its weights."""
    return DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test").eval()


@pytest.fixture(scope="session")
def mixed_prompts(encoder: PromptEncoder, tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Images of three shapes, a prompt without an image, and one with two images, in this order."""
    folder = tmp_path_factory.mktemp("images")
    return encoder.encode(
        [
            image_row(folder, [(96, 192)], "Largest digit?"),
            image_row(folder, [(128, 128)], "Add the digits."),
            image_row(folder, [(192, 64)], "Span of the digits?"),
            image_row(folder, [], "Largest digit? There is no picture."),
            image_row(folder, [(64, 128), (128, 64)], "Sum of the digits?"),
        ]
    )


def image_row(folder: Path, sizes: Sequence[tuple[int, int]], question: str) -> PromptRow:
    """A row about images of random pixels, one of each size (width, height)."""
    paths = []
    for width, height in sizes:
        generator = torch.Generator().manual_seed(width * 1000 + height)
        pixels_HWC = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
        path = folder / f"{width}x{height}.png"
        Image.fromarray(pixels_HWC.numpy()).save(path)
        paths.append(path)
    user = {"role": "user", "content": "<image>" * len(sizes) + question}
    system = {"role": "system", "content": "Caption, think, answer."}
    source = f"{folder}:{question}"
    return PromptRow(source=source, messages=(system, user), images=tuple(ImageFile(source, path=path) for path in paths))
