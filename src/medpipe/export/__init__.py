"""Write trained networks for other programs, and verify what was written."""
