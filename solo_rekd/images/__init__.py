"""Which files are images, what their pixels are, and data sets of them."""
