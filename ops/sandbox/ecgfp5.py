"""The curve ecGFp5 and Schnorr signatures on it, as Lighter's API keys sign (docs/venues/lighter.md 6; eprint 2022/274).

Field: GF(p^5) = GF(p)[z]/(z^5 - 3), an element is a tuple of five limbs. Curve: y^2 = x(x^2 + 2x + 263z). Points are
(X, Z, U, T) with x = X/Z and x/y = U/T; the addition is complete, so it doubles too. On the wire a point is the field
element w = T/U, 40 bytes little-endian.

Verifying needs s*G + e*PK. Both points are known long before a signature comes, so each gets a table of all its
multiples d * 16^i (1200 points, made once) and a product is at most 80 additions and no doubling: a few milliseconds in
plain Python instead of tens. Nothing here is constant-time: it guards no secret but the sandbox's throw-away keys.
"""

from __future__ import annotations

import functools

from ops.sandbox.poseidon2 import P, hash5

Field = tuple[int, int, int, int, int]
Point = tuple[Field, Field, Field, Field]
"""(X, Z, U, T)."""
Table = tuple[tuple[Point, ...], ...]
"""`table[i][d - 1]` = d * 16^i times the point."""

ORDER = 1067993516717146951041484916571792702745057740581727230159139685185762082554198619328292418486241
KEY_BYTES = 40
SIGNATURE_BYTES = 80

_ZERO: Field = (0, 0, 0, 0, 0)
_ONE: Field = (1, 0, 0, 0, 0)
_A: Field = (2, 0, 0, 0, 0)
_B_Z = 263  # b = 263z
_B4: Field = (0, 4 * _B_Z, 0, 0, 0)
_W = pow(3, (P - 1) // 5, P)
_HALF = (P + 1) // 2
_WINDOW_BITS = 4
_WINDOWS = 80  # of 4 bits: scalars have at most 320
_NEUTRAL: Point = (_ZERO, _ONE, _ZERO, _ONE)
_GENERATOR: Point = (
    (12883135586176881569, 4356519642755055268, 5248930565894896907, 2165973894480315022, 2448410071095648785),
    _ONE,
    _ONE,
    (4, 0, 0, 0, 0),
)


class PublicKey:
    """A point to verify against. Raises ValueError when the 40 bytes are not a point or are the neutral one."""

    __slots__ = ("_table", "encoded")

    def __init__(self, encoded: bytes) -> None:
        point = decode(encoded)
        if point is None or encoded == bytes(KEY_BYTES):
            raise ValueError("not a public key of ecGFp5")
        self.encoded = encoded
        self._table = _multiples(point)

    def verifies(self, digest: Field, signature: bytes) -> bool:
        """Whether `signature` (s then e, 40 bytes each, little-endian) is this key's over `digest`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        s, e = int.from_bytes(signature[:40], "little"), int.from_bytes(signature[40:], "little")
        if s >= ORDER or e >= ORDER:
            return False
        r = _accumulate(self._table, e, _accumulate(_base(), s, _NEUTRAL))
        return challenge(to_field(encode(r)), digest) == e


def public_key(secret: int) -> bytes:
    """The 40 bytes of secret * G."""
    return encode(_accumulate(_base(), secret % ORDER, _NEUTRAL))


def sign(secret: int, k: int, digest: Field) -> bytes:
    """The signature of `digest` with the one-time scalar `k`."""
    e = challenge(to_field(public_key(k)), digest)
    return ((k - e * secret) % ORDER).to_bytes(40, "little") + e.to_bytes(40, "little")


def challenge(r: Field, digest: Field) -> int:
    """e = H(r, digest) as a scalar."""
    return int.from_bytes(to_bytes(hash5([*r, *digest])), "little") % ORDER


def encode(point: Point) -> bytes:
    """w = T/U; the neutral point is zero."""
    return to_bytes(_mul(point[3], _inverse(point[2])))


def decode(encoded: bytes) -> Point | None:
    """The point of 40 bytes, or None if they are none."""
    w = canonical(encoded)
    if w is None:
        return None
    if w == _ZERO:
        return _NEUTRAL
    e = _sub(_mul(w, w), _A)
    root = _sqrt(_sub(_mul(e, e), _B4))
    if root is None:
        return None
    x = _scale(_add(e, root), _HALF)
    if _is_square(x):
        x = _scale(_sub(e, root), _HALF)
    return x, _ONE, _ONE, w


def add(p: Point, q: Point) -> Point:
    """Complete addition."""
    x1, z1, u1, t1 = p
    x2, z2, u2, t2 = q
    m1, m2, m3, m4 = _mul(x1, x2), _mul(z1, z2), _mul(u1, u2), _mul(t1, t2)
    m5 = _mul(_add(x1, z1), _add(x2, z2))
    m5 = _sub(_sub(m5, m1), m2)
    m6 = _mul(_add(u1, t1), _add(u2, t2))
    m6 = _sub(_sub(m6, m3), m4)
    b_m2 = _times_b(m2)
    m7 = _add(m1, b_m2)
    m8 = _mul(m4, m7)
    m9 = _mul(m3, _scale(_add(_times_b(m5), m7), 2))
    m10 = _mul(_add(m4, _scale(m3, 2)), _add(m5, m7))
    return _times_b(_sub(m10, m8)), _sub(m8, m9), _mul(m6, _sub(b_m2, m1)), _add(m8, m9)


def multiply(point: Point, scalar: int) -> Point:
    """scalar * point, without a table."""
    result = _NEUTRAL
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def canonical(encoded: bytes) -> Field | None:
    """The field element of exactly 40 bytes with every limb below P, else None."""
    if len(encoded) != KEY_BYTES:
        return None
    element = to_field(encoded)
    return element if max(element) < P else None


def to_field(encoded: bytes) -> Field:
    """40 bytes as five little-endian limbs."""
    a, b, c, d, e = (int.from_bytes(encoded[at : at + 8], "little") for at in range(0, KEY_BYTES, 8))
    return a, b, c, d, e


def to_bytes(element: Field) -> bytes:
    return b"".join(limb.to_bytes(8, "little") for limb in element)


@functools.cache
def _base() -> Table:
    return _multiples(_GENERATOR)


def _multiples(point: Point) -> Table:
    rows = []
    for _ in range(_WINDOWS):
        row = [point]
        for _ in range(2, 1 << _WINDOW_BITS):
            row.append(add(row[-1], point))
        rows.append(tuple(row))
        point = add(row[-1], point)
    return tuple(rows)


def _accumulate(table: Table, scalar: int, start: Point) -> Point:
    """start + scalar * the table's point."""
    for row in table:
        digit = scalar & 15
        if digit:
            start = add(start, row[digit - 1])
        scalar >>= _WINDOW_BITS
    return start


def _mul(a: Field, b: Field) -> Field:
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    return (
        (a0 * b0 + 3 * (a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1)) % P,
        (a0 * b1 + a1 * b0 + 3 * (a2 * b4 + a3 * b3 + a4 * b2)) % P,
        (a0 * b2 + a1 * b1 + a2 * b0 + 3 * (a3 * b4 + a4 * b3)) % P,
        (a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0 + 3 * a4 * b4) % P,
        (a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0) % P,
    )


def _add(a: Field, b: Field) -> Field:
    """Limbs may leave [0, P): the next product brings them back."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4]


def _sub(a: Field, b: Field) -> Field:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4]


def _scale(a: Field, factor: int) -> Field:
    return a[0] * factor, a[1] * factor, a[2] * factor, a[3] * factor, a[4] * factor


def _times_b(a: Field) -> Field:
    return 3 * _B_Z * a[4], _B_Z * a[0], _B_Z * a[1], _B_Z * a[2], _B_Z * a[3]


def _frobenius(a: Field, times: int) -> Field:
    """a^(p^times)."""
    w = pow(_W, times, P)
    return a[0], a[1] * w, a[2] * w * w, a[3] * pow(w, 3, P), a[4] * pow(w, 4, P)


def _cofactor(a: Field) -> Field:
    """a^(p + p^2 + p^3 + p^4)."""
    once = _mul(_frobenius(a, 1), _frobenius(a, 2))
    return _mul(once, _frobenius(once, 2))


def _norm(a: Field) -> int:
    """a^(1 + p + p^2 + p^3 + p^4), which lies in GF(p)."""
    return _mul(a, _cofactor(a))[0]


def _inverse(a: Field) -> Field:
    """1/a; of zero it is zero."""
    rest = _cofactor(a)
    return _scale(rest, pow(_mul(a, rest)[0], P - 2, P))


def _is_square(a: Field) -> bool:
    return pow(_norm(a), (P - 1) // 2, P) in (0, 1)


def _sqrt(a: Field) -> Field | None:
    """A root, or None. a^((1+p+...+p^4+1)/2) = sqrt(a * norm(a)), and the norm has its root in GF(p)."""
    norm = _norm(a)
    if norm == 0:
        return _ZERO
    if pow(norm, (P - 1) // 2, P) != 1:
        return None
    root = _root_in_base(norm)
    # (1 + p + p^2 + p^3 + p^4 + 1) / 2 = 1 + (p + p^2 + p^3 + p^4) / 2 = 1 + p (p + 1) / 2 * (1 + p^2)
    half = _power(_mul(a, _ONE), (P + 1) // 2)
    once = _frobenius(half, 1)
    product = _mul(a, _mul(once, _frobenius(once, 2)))
    return _mul(product, (pow(root, P - 2, P), 0, 0, 0, 0))


def _power(a: Field, exponent: int) -> Field:
    result = _ONE
    for bit in bin(exponent)[2:]:
        result = _mul(result, result)
        if bit == "1":
            result = _mul(result, a)
    return result


def _root_in_base(n: int) -> int:
    """A square root of a square of GF(p), by Tonelli and Shanks: p - 1 = 2^32 (2^32 - 1), and 7 generates."""
    odd = (1 << 32) - 1
    m, c = 32, pow(7, odd, P)
    t, r = pow(n, odd, P), pow(n, (odd + 1) // 2, P)
    while t != 1:
        i, square = 0, t
        while square != 1:
            square = square * square % P
            i += 1
        b = pow(c, 1 << (m - i - 1), P)
        m, c = i, b * b % P
        t, r = t * c % P, r * b % P
    return r
