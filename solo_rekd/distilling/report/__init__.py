"""The report of a distillation: one self-contained page."""
