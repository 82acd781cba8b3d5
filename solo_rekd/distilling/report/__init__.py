"""The report of a distillation: one page that loads nothing from elsewhere."""
