"""Demonstrations from a teacher behind an OpenAI-compatible endpoint: hard prompts, verified responses, counted costs."""

from prism_pl.curation.curating import curate
from prism_pl.curation.options import EndpointOptions

__all__ = ["EndpointOptions", "curate"]
