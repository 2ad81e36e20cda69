"""Splits: training, validation and test without a leak; `split` is the entry point."""
