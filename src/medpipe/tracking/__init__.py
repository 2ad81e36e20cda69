"""Send what a run directory says to a tracker, while the run trains or later."""
