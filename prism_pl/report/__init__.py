"""The report of a run, or of several: one HTML page that needs nothing else, and a table for the terminal."""

from prism_pl.report.build import build_comparison, build_report

__all__ = ["build_comparison", "build_report"]
