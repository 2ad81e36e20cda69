"""The registry: load plugins, look up and create their steps."""
