"""One simulated venue per file, written from the venue documents alone."""
