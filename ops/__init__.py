"""People's tools: the tandem command, metrics, supervision and the sandbox."""
