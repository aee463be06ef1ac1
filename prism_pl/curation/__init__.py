"""Demonstrations from a teacher behind an OpenAI-compatible endpoint: hard prompts, verified responses, counted costs."""

from prism_pl.curation.curating import curate

__all__ = ["curate"]
