"""Trainer steps: `supervised` and what it is made of."""
