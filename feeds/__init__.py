"""One process per venue: public sockets in, validated quotes out; no keys, no orders."""
