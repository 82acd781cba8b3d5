"""Images decoded once, for any number of runs at a time and one after the other."""
