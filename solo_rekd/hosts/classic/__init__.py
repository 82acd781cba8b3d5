"""Adapter to the classic host: solo-learn 1.0.2 from PyPI (argparse, pytorch_lightning 1.9)."""
