"""How good a network is, and what it costs; no host has a part in it."""
