"""From samples to batches: reading, scanning, splits, the transform chain and the loader."""
