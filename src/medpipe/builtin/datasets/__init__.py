"""Dataset steps: `mednist`, `phantom`, `image_folder` and `table`."""
