"""The only room with keys and nonces: one serial path from command to signed bytes to recorded outcome."""
