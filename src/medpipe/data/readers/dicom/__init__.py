"""Decode DICOM files and series."""
