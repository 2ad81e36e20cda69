"""Hippocampus by medpipe and by a plain MONAI script, on one split: Dice and processor time."""
