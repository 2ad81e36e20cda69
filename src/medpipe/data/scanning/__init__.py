"""The scan: every image is read once, its fingerprint and defects are recorded and cached."""
