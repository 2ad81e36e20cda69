"""Batched versions of MONAI's random transforms, and of those that often follow them."""
