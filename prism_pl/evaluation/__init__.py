"""Models compared on sets of questions: who answers, responses on disk, figures with intervals, tables."""
