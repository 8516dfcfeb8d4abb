"""Pure parsers from a venue's instrument catalogue to Instrument rows, shared by its feed and its gateway."""
