"""What other libraries do and do not do of what this one does: `python -m benchmarks.comparison`.

Each module asks its questions of each contender; each answer is a cell of docs/comparison.md. A cell is asked in a
process of its own, so that one that hangs or crashes says nothing about the others.
"""
