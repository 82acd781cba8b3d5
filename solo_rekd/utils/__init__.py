"""What every other part stands on: files, messages, progress bars, precision, versions."""
