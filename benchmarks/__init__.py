"""What a step costs: `python -m benchmarks` prints the tables of docs/speed.md, measured side by side."""
