"""Runs: started, resumed, recorded, read back and pooled."""
