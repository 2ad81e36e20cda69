"""Batched forms of MONAI's random transforms, and of what often follows them."""
