"""The export step `Bundle`: a MONAI bundle, which MONAI runs without medpipe."""
