"""Long trials of what the package promises: `PYTHONPATH=scripts python -m reliability PART`."""
