"""The packed cache: arrays of all samples in one memory-mapped file, made once, opened at once."""
