"""Start, resume, record, read and pool runs."""
