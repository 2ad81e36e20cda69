"""Decode TIFF files."""
