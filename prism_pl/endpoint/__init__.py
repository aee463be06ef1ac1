"""The client of an OpenAI-compatible endpoint: a teacher that is asked for demonstrations, or a judge of answers."""

from prism_pl.endpoint.answers import Answer
from prism_pl.endpoint.client import Endpoint, NoAnswer, request_body
from prism_pl.endpoint.options import EndpointOptions

__all__ = ["Answer", "Endpoint", "EndpointOptions", "NoAnswer", "request_body"]
