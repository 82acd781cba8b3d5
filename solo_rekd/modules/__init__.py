"""The parts of an objective that keep a state: the queue of keys and the bank of prototypes."""
