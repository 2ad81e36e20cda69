"""Predict new files and evaluate external data sets with a run's network."""
