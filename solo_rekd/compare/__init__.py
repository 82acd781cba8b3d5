"""`solo-rekd compare`: several methods on one image folder, under one budget, to one report."""
