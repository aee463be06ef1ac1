"""Texts in the form that a response must have, and one that is not."""

MALFORMED = "<caption>c</caption><think>t</think>"


def respond(caption: str = "c", think: str = "One step.", answer: str = "7") -> str:
    return f"<caption>{caption}</caption><think>{think}</think><answer>{answer}</answer>"
