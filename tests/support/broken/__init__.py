"""Steps that are broken on purpose: for each check one that fails it, and nothing else."""
