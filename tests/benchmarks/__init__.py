"""wsroom and its peers under load, side by side: `python3 -m tests.benchmarks`."""
