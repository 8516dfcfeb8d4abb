"""Identities of venues that know an account by its Ethereum address and let an agent's key sign for it."""

from __future__ import annotations

import random
from collections.abc import Mapping

from coincurve import PrivateKey

from core.venue_spec import ETHEREUM_ADDRESS, ETHEREUM_KEY, VenueSpec
from ops.sandbox.venues.base import Identity
from ops.sandbox.verify import keccak

KEY_BYTES = 32


def new_credentials(spec: VenueSpec, rng: random.Random) -> dict[str, str]:
    """An agent's key, and the address of a master whose own key is thrown away at once: nobody needs it here."""
    made = {ETHEREUM_KEY: "0x" + rng.randbytes(KEY_BYTES).hex(), ETHEREUM_ADDRESS: address_of(rng.randbytes(KEY_BYTES))}
    return {credential.name: made[credential.form] for credential in spec.credentials}


def identity(spec: VenueSpec, values: Mapping[str, str]) -> Identity:
    """The master's address and the agent's. Raises KeyError or ValueError as SandboxVenue.identity does."""
    given = {credential.form: values[credential.name] for credential in spec.credentials}
    key = bytes.fromhex(given[ETHEREUM_KEY].removeprefix("0x"))
    return Identity(given[ETHEREUM_ADDRESS].lower(), (address_of(key),))


def address_of(private_key: bytes) -> str:
    """The lower-case 0x address of a secp256k1 key."""
    return "0x" + keccak(PrivateKey(private_key).public_key.format(compressed=False)[1:])[-20:].hex()
