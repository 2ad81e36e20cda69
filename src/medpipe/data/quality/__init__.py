"""Bad samples: faults, screening, near duplicates, shape outliers and the quarantine file."""
