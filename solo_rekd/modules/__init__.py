"""The parts of an objective that keep a state: queue of keys, bank of prototypes, momentum twin."""
