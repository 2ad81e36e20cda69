"""A trained network on images that its run has not seen: new files, or a set with labels."""
