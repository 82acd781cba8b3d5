"""The search for a relation that pays: a loop on views that are drawn, and embedded, once."""
