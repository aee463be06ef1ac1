"""The report of a finished run: one HTML page that needs nothing else, and a table for the terminal."""

from prism_pl.report.build import build_report

__all__ = ["build_report"]
