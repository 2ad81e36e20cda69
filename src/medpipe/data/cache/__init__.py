"""The caches of transformed images: memory-mapped on disk, or on the device."""
