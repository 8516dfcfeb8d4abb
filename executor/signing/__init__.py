"""One signer per venue over shared primitives; pure functions of key, nonce and order."""
