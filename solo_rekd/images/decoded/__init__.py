"""Images that are decoded once, for any number of simultaneous or later runs."""
