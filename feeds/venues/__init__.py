"""One decoder per venue: subscriptions and frames, without sockets or clocks."""
