"""What a step, a loss, growth and loading cost, as ratios, written to docs/performance.md.

Usage: make bench [PARTS="steps losses"] [QUICK=1] [PARENT=COMMIT]
"""
