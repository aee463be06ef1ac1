"""Prompts shared out among servers, and what becomes of one that is of no use: local servers that break the protocol."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image

from prism_pl.engines.server_client import ServerClient, question
from prism_pl.engines.server_pool import NoServerLeftError, Server, ServerPool
from prism_pl.errors import UserError
from prism_pl.types import SamplingOptions
from tests.prism_pl.engines.faulty_server import LABEL, FaultyServer, expected, prompt, serving

SAMPLING = SamplingOptions(max_new_tokens=4, group_size=3, temperature=0.7)


@contextmanager
def pool_of(*servers: FaultyServer, concurrency: int = 4, time_limit: float = 20.0) -> Iterator[ServerPool]:
    pool = ServerPool(concurrency)
    pool.labels = [LABEL]
    with serving(*servers):
        pool.replace(
            [
                Server(
                    ServerClient(f"Server {number}", server.url, time_limit), lambda: " Its last words: alas.", usable=True
                )
                for number, server in enumerate(servers)
            ]
        )
        yield pool
        pool.close()


def ask(pool: ServerPool, count: int) -> None:
    """Every question has the answers that arithmetic gives, in order."""
    questions = [question(prompt(number), 100 * number, SAMPLING, {5: -100.0}) for number in range(count)]
    answers = [asked.answer.result(60) for asked in pool.ask(questions)]
    assert [[tokens.ids for tokens in group] for group in answers] == [
        [expected(number, 100 * number, index) for index in range(3)] for number in range(count)
    ]
    for group in answers:
        assert [tokens.truncated for tokens in group] == [False, True, True]
        assert all(tokens.logp == tuple(-token / 8 for token in tokens.ids) for tokens in group)


def test_prompts_go_to_who_has_the_fewest_and_never_too_many() -> None:
    slow, quick = FaultyServer(delay_s=0.4), FaultyServer(delay_s=0.02)
    with pool_of(slow, quick, concurrency=3) as pool:
        ask(pool, 30)
    assert slow.asked + quick.asked == 30
    # In the time of one answer the quick one gives twenty.
    assert quick.asked > 2 * slow.asked > 0
    assert (slow.most_in_flight, quick.most_in_flight) == (3, 3)


def test_single_prompts_reach_every_server_in_turn() -> None:
    servers = [FaultyServer() for _ in range(3)]
    with pool_of(*servers) as pool:
        for _ in range(6):
            ask(pool, 1)
    assert [server.asked for server in servers] == [2, 2, 2]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("cut", r"cannot be reached \(RemoteProtocolError"),
        ("hang up", r"cannot be reached \(RemoteProtocolError"),
        ("slow", "has not answered within 0.5 seconds"),
        ("500", r"has answered /inference/v1/generate with 500: \{\"error\": \"no\"\}"),
        ("html", r"has given what is no answer \(Invalid JSON"),
        ("no choices", r"has given what is no answer \(choices: Field required"),
        ("too few", "has given 2 responses for 3"),
        ("aborted", r"has given up a response \(finish: abort"),
        ("empty", "a response that is none: 0 tokens and 0 log-probabilities"),
        ("other tokens", "a response that is none: 3 tokens and 1 log-probabilities"),
        ("old weights", "has sampled with weights run-2, not with run-3"),
        ("two weights", "has sampled with weights run-2, not with run-3"),
        ("no weights", "has sampled with weights of no name, not with run-3"),
    ],
)
def test_a_server_of_no_use_is_left_out_and_its_prompts_asked_elsewhere(
    act: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, fine = FaultyServer(act), FaultyServer()
    with pool_of(faulty, fine, time_limit=0.5 if act == "slow" else 20.0) as pool:
        ask(pool, 12)
        assert [server.client.name for server in pool.usable] == ["Server 1"]
        ask(pool, 2)
    assert fine.asked == 14
    assert 1 <= faulty.asked <= 4
    (warning,) = caplog.messages
    assert caplog.records[0].levelname == "WARNING"
    assert re.search(rf"^Server 0 .*{why}", warning)
    assert warning.endswith("It is left out, and what it was asked is asked elsewhere. Its last words: alas.")


def test_when_none_is_left_the_error_says_of_each_why() -> None:
    with (
        pool_of(FaultyServer("500"), FaultyServer("old weights")) as pool,
        pytest.raises(NoServerLeftError, match=r"(?=.*Server 0 has answered .*500)(?=.*Server 1 has sampled with .*run-2)"),
    ):
        ask(pool, 4)


def test_a_prompt_that_ends_servers_does_not_end_all_of_them() -> None:
    servers = [FaultyServer("500") for _ in range(4)]
    with (
        pool_of(*servers) as pool,
        pytest.raises(NoServerLeftError, match=r"^rows:0: 3 servers were lost over it. Server 0 has"),
    ):
        ask(pool, 1)
    assert sorted(server.asked for server in servers) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("400", r"Server 0 refuses /inference/v1/generate with 400: \{\"error\": \"no\"\}"),
        ("404", "Was it started with VLLM_SERVER_DEV_MODE=1"),
        ("other prompt", r"rows:0: trainer and engine read the prompt differently \(2 tokens against 1\)"),
    ],
)
def test_a_mistake_is_the_users_and_no_servers(act: str, why: str) -> None:
    with pool_of(FaultyServer(act)) as pool:
        with pytest.raises(UserError, match=why):
            ask(pool, 1)
        assert len(pool.usable) == 1
        assert pool.usable[0].open == 0


def test_what_is_asked() -> None:
    pixels_HWC = torch.randint(0, 256, (9, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    with_image = replace(prompt(3), engine_ids=(3,), images=(Image.fromarray(pixels_HWC),))
    body = question(with_image, 11, SAMPLING, {5: -100.0, 6: -100.0}).body
    assert body["token_ids"] == [3]
    assert body["return_token_ids"] is True
    # Equal to those of VLLMEngine: tests/prism_pl/engines/test_server_engine.py.
    assert body["sampling_params"] == {
        "n": 3, "temperature": 0.7, "top_p": 1.0, "max_tokens": 4, "seed": 11, "logprobs": 0, "detokenize": False,
        "logit_bias": {5: -100.0, 6: -100.0},
    }  # fmt: skip
    (part,) = body["content_parts"]
    head, data = part["url"].split(",")
    assert (part["type"], head) == ("image_url", "data:image/png;base64")
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (shown.mode, shown.tobytes()) == ("RGB", pixels_HWC.tobytes())
    assert "content_parts" not in question(prompt(3), 11, SAMPLING, {}).body
