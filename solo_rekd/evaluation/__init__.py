"""How good a network is, and what it costs; no host is needed."""
