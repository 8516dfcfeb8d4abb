"""One gateway per venue: order entry, private stream and account reads."""
