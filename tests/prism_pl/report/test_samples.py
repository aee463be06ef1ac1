"""Which prompts are shown."""

import base64
import io
import json
from pathlib import Path

from PIL import Image

from prism_pl.report.collect import collect
from prism_pl.report.samples import choose_of_run, image_uri
from tests.prism_pl.report.fake_run import fake_run, record, response


def heldout(folder: Path, right: tuple[int, ...], malformed: tuple[int, ...] = ()) -> None:
    rows = [
        record(i, folder.parent / "digits.png", "7" if i in malformed else response(1, 1, "7"), True, i in right, 10)
        for i in range(10)
    ]
    (folder / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_mended_prompts_come_first_and_changes_are_counted(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    heldout(folder / "sft", right=(0, 8))
    heldout(folder / "rlvr", right=(6, 8))
    choice = choose_of_run(collect(folder), None, 6)
    assert choice is not None
    assert (choice.mended, choice.spoilt, choice.total) == (1, 1, 10)
    assert len(choice.shown) == 6
    assert [prompt.source for prompt in choice.shown][:2] == ["gone.jsonl:7", "gone.jsonl:1"]
    assert [policy.title for policy in choice.policies] == ["SFT", "aligned", "RLVR"]
    assert (choice.first, choice.last) == (0, 2)


def test_where_not_all_are_shown_each_kind_has_its_turn(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    heldout(folder / "sft", right=(8,))
    heldout(folder / "rlvr", right=(0, 1, 2, 3, 4, 5, 8), malformed=(7,))
    choice = choose_of_run(collect(folder), None, 4)
    assert choice is not None
    # Of six that were mended one, then the malformed, the first wrong and the right one.
    assert [prompt.source.partition(":")[2] for prompt in choice.shown] == ["1", "8", "7", "9"]


def test_a_photograph_is_made_small_and_a_drawing_keeps_its_pixels(tmp_path: Path) -> None:
    noise = Image.effect_noise((1000, 600), 80)
    noise.save(tmp_path / "noise.png")
    Image.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    photograph, drawing = image_uri(str(tmp_path / "noise.png")), image_uri(str(tmp_path / "red.png"))
    assert photograph is not None
    assert drawing is not None
    kind, _, content = photograph.partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (640, 384)
    kind, _, content = drawing.partition(";base64,")
    assert kind == "data:image/png"
    assert Image.open(io.BytesIO(base64.b64decode(content))).getpixel((0, 0)) == (255, 0, 0)
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert image_uri(str(tmp_path / "broken.png")) is None
