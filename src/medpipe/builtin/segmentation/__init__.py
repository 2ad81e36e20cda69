"""The built-in steps for segmentation: networks, losses, inferers."""
