"""The registry: plugins are loaded, their steps looked up and created."""
