"""The client of an OpenAI-compatible endpoint, and workers that ask it about many items at once."""

from prism_pl.endpoint.answers import Answer
from prism_pl.endpoint.client import Endpoint, NoAnswer, request_body
from prism_pl.endpoint.options import EndpointOptions
from prism_pl.endpoint.workers import MOST_FAILURES, Workers

__all__ = ["MOST_FAILURES", "Answer", "Endpoint", "EndpointOptions", "NoAnswer", "Workers", "request_body"]
