"""What a venue says of itself: one VenueSpec, data only, beside its catalogue parser in `core/specs/<venue>.py`.

Nothing here names a venue and nothing has to be edited for a new one: a credential carries the check of its own text
(`Form`), and settings that no other venue has are a struct of the venue's own (`VenueSpec.extra`).
"""

from __future__ import annotations

import enum

import msgspec

from core.types import Venue


class Proof(enum.Enum):
    """What proves that a quote still stands (RULES 2)."""

    OWN_FRAME = "own_frame"  # sampled channel: only the quote's own frame
    SOCKET = "socket"  # speaks on change only: any market frame of that socket, while the symbol's own proof is fresh


class VenueKind(enum.Enum):
    PERP = "perp"
    SPOT = "spot"
    RFQ = "rfq"


class Spelling(enum.Enum):
    """When two texts are one value, and what its text must hold beyond the pattern."""

    VERBATIM = "verbatim"  # every character counts
    HEX = "hex"  # case and a leading 0x do not count
    ADDRESS = "address"  # hex, and mixed case must carry the right EIP-55 checksum
    NUMBER = "number"  # decimal digits, from `least` to `most`; leading zeros do not count


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What a credential's text looks like.

    The whole text matches `pattern`. `says` ends the sentence "KEY: is not ..." and never quotes a value.
    """

    pattern: str
    says: str
    spelling: Spelling = Spelling.VERBATIM
    least: int = 0
    most: int = (1 << 64) - 1


ETHEREUM_KEY = Form(pattern=r"(0x)?[0-9a-fA-F]{64}", says="64 hex digits (with or without 0x)", spelling=Spelling.HEX)
ETHEREUM_ADDRESS = Form(
    pattern=r"0x[0-9a-fA-F]{40}", says="an address (0x and 40 hex digits)", spelling=Spelling.ADDRESS
)


class Credential(msgspec.Struct, frozen=True):
    """One secret or address. `aliases` are accepted with a warning, and refused where two names disagree; `retired` names
    get the message instead of a value. An optional one may be missing (`Keyring.has`)."""

    name: str
    aliases: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    retired_advice: str = ""
    secret: bool = True
    form: Form = ETHEREUM_KEY
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a secrets file or an environment may hold it, or what it replaced, under."""
        return (self.name, *self.aliases, *self.retired)


class VenueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the roster. `name` is the module's own name.

    `extra` is the struct of settings that only this venue has (frozen, keyword-only, unknown fields forbidden, units last
    in names): the table `extra` of its configuration is checked against it, and `VenueConfig.own` reads it back.
    """

    name: Venue
    title: str
    kind: VenueKind
    quote_ccy: str
    proof: Proof
    taker_fee: float  # fraction; base tier, used until the account's own rate is read
    maker_fee: float
    order_ttl_ms: int  # the shortest expiry the venue allows for an IOC order that we use
    credentials: tuple[Credential, ...]
    credentials_advice: str  # where the operator gets them, and what is not needed; stands in .env.example
    unread: tuple[tuple[str, str], ...] = ()  # names that other programs use for this venue, and where that stands here
    extra: type[msgspec.Struct] | None = None

    @property
    def account(self) -> Credential:
        """Names the account to the lock and to people: the first credential that is not secret."""
        return next(credential for credential in self.credentials if not credential.secret)
