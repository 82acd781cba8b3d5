"""The study of small data: runs what plan.yaml lists, keeps a line a run, and writes the pages.

Usage: make study ARGS="test --budget 600"; make tables; PYTHONPATH=scripts python -m study --help
"""
