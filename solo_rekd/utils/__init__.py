"""Basics of all other parts: files, messages, progress bars, precision, versions."""
