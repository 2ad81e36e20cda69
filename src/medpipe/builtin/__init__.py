"""The built-in steps: a plugin like any other, found by its entry point."""
