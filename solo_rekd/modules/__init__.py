"""The stateful parts of an objective: queue of keys, bank of prototypes, momentum twin."""
