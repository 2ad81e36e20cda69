"""medpipe beside the plain MONAI script, on the same files: ``python -m benchmarks``."""
