"""Long trials of what docs/reliability.md promises; each part adds rows to a file of results."""
