"""Data sets of 60 to 60,000 images: the defaults beside configurations tuned by hand."""
