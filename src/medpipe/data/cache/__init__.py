"""The caches of transformed images: memory-mapped on disk, in memory or on the device."""
