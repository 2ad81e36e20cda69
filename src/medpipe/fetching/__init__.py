"""Downloads and archives, not trusted."""
