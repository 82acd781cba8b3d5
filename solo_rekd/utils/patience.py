"""How often a process says that it lives, and how long others wait for that, in seconds."""

BEAT = 1.0  # between two signs of life
PATIENCE = 40.0  # without one, after which a process is taken for lost
