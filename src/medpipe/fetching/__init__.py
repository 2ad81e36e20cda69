"""Downloads and archives from untrusted sources."""
