"""Adapter to the current host: solo-learn's main branch (Hydra, lightning 2)."""
