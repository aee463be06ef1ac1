"""A judge that plays a script."""

import json
from typing import Any

from tests.scripted_server import ScriptedServer, chat_completion


class JudgeServer(ScriptedServer):
    """A question is a student's answer; an act that is no fault is what the judge says of it."""

    usual = ("wrong",)

    def identify(self, body: dict[str, Any]) -> str:
        return json.loads(body["messages"][1]["content"])["student_answer"]

    def completion(self, act: str, key: Any, echo: str) -> dict[str, Any] | None:
        faults = {"429", "500", "401", "400", "cut", "hang up", "html", "no choices", "slow"}
        if act.startswith("cut off: "):
            return chat_completion(act.removeprefix("cut off: "), "length")
        return None if act in faults else chat_completion(act)
