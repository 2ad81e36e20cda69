"""Loaders: the order of samples, batches and their columns."""
