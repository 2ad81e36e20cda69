"""Image readers, one module for each file format; `reader` is the entry point."""
