"""What the adapters of both hosts share."""
