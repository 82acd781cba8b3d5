"""`solo-rekd compare`: compares methods on one image folder under the same budget."""
