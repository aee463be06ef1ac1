"""Demonstrations for SFT."""

from datamodules.mixture import MixtureDataModule
from prism_pl.data.files import DataPath
from prism_pl.data.row_checks import Requirements, Rows, row_tokens
from prism_pl.data.rows import LearntResponse
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.types import Demonstration


class DemonstrationDataModule(MixtureDataModule):
    """Rows with what is to be learnt: the assistant's turns, or the teacher's response of a prompt set.

    Args:
        path: data file, or ``embedded/digits/sft.jsonl``; or a list of sources with weights.
        policy: the model whose processor encodes the rows; the stage's own, unless it is said.
        batch_size: demonstrations an update, over all devices together.
        max_prompt_tokens: limit of all before the last turn that is learnt, images included.
        max_response_tokens: limit of that turn.
        response: ``turn`` learns the assistant's turns, ``teacher`` the row's teacher response.
        mask_history: of several turns of the assistant learn the last alone (as in LLaMA-Factory).
        drop_too_long: drop and count rows over a limit instead of stopping.
        seed: of the order.
        num_workers: processes that read and encode rows.
    """

    def __init__(
        self,
        path: DataPath,
        policy: str,
        batch_size: PositiveInt,
        max_prompt_tokens: PositiveInt = 2048,
        max_response_tokens: PositiveInt = 8192,
        response: LearntResponse = "turn",
        mask_history: bool = False,
        drop_too_long: bool = False,
        seed: NonNegativeInt = 0,
        num_workers: NonNegativeInt = 1,
    ) -> None:
        requirements = Requirements((), max_response_tokens, response, mask_history, drop_too_long)
        super().__init__(path, policy, max_prompt_tokens, requirements, batch_size, seed, num_workers)

    def tokens(self) -> Rows:
        return row_tokens(self.data, self.encoder, self.requirements)

    def encode(self, rows: list[int]) -> list[Demonstration]:
        read = [self.data.demonstration(row, self.requirements.response, self.requirements.mask_history) for row in rows]
        return [
            Demonstration(prompt, self.encoder.response_ids(row.response or ""))
            for prompt, row in zip(self.encoder.encode(read), read, strict=True)
        ]
