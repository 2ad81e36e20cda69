"""How the files of each format begin."""

from __future__ import annotations

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF, in both byte orders."""
BMP = b"BM"
PICTURES = (JPEG, PNG, *TIFF, BMP)
NUMPY = b"\x93NUMPY"
ZIP = b"PK"
GZIP = b"\x1f\x8b"
NIFTI = (b"n+1\0", b"n+2\0")
NIFTI_PAIR = (b"ni1\0", b"ni2\0")
"""Of a header whose values are in another file."""
_ANALYZE = 348
"""Bytes of a header of Analyze 7.5, which says so itself."""
_DICOM = b"DICM"
_PREAMBLE = 128
"""Bytes before the mark of DICOM."""


def is_dicom_content(head: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM."""
    return head[_PREAMBLE : _PREAMBLE + len(_DICOM)] == _DICOM


def is_nifti(head: bytes) -> bool:
    """Whether the first bytes of a file are those of NIfTI, or of gzip, as for no other format."""
    return head.startswith(GZIP) or nifti_mark(head) in NIFTI + NIFTI_PAIR or is_analyze(head)


def is_analyze(head: bytes) -> bool:
    """Whether it is the header of an Analyze 7.5 pair, which has no mark."""
    return (
        len(head) == _ANALYZE
        and _ANALYZE in (int.from_bytes(head[:4], order) for order in ("little", "big"))
        and nifti_mark(head) not in NIFTI + NIFTI_PAIR
    )


def nifti_mark(head: bytes) -> bytes:
    """The bytes in which NIfTI-1 or NIfTI-2 has its mark."""
    first, second = head[344:348], head[4:8]
    return first if first in (NIFTI[0], NIFTI_PAIR[0]) else second
