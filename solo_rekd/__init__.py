"""Distilled self-supervision for small networks, as a plug-in for solo-learn.

Nothing is imported here: the start-up hook imports this package in every Python process.
"""

__version__ = "0.1.0"
