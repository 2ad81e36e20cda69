"""Evaluation: predictions by sample, metrics, intervals."""
