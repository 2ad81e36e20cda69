"""The operating system: files, locks, processes, hardware, progress and text."""
