"""What every hop costs, beside peers measured in the same run: python -m tests.bench."""
