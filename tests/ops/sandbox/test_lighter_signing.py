"""Poseidon2, ecGFp5, Schnorr and Lighter's signed texts against recorded answers of the official signer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ops.sandbox import ecgfp5, poseidon2
from ops.sandbox.venues import _lighter_signing as signing

ROOT = Path(__file__).resolve().parents[3]
VECTORS = json.loads((ROOT / "tests" / "fixtures" / "lighter" / "signing_vectors.json").read_text())
ORACLES = ROOT.parent / "shared" / "data" / "payloads" / "lighter"
CASES = {case["name"]: case for case in VECTORS["cases"]}
TX_CASES = [name for name, case in CASES.items() if "tx_type" in case["expected"]]
TOKEN_CASES = [name for name in CASES if name not in TX_CASES]
ANSWERS = VECTORS["crypto"]["known_answers"]


def limbs(text: str) -> list[int]:
    raw = bytes.fromhex(text)
    return [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]


def scalar(text: str) -> int:
    return int.from_bytes(bytes.fromhex(text), "little")


def oracle(name: str) -> Any:
    path = ORACLES / name
    if not path.exists():
        pytest.skip(f"{path} is missing: the recorded oracle cannot be asked")
    return json.loads(path.read_text())["vectors"]


def key_of(secret: str, known: dict[str, ecgfp5.PublicKey] = {}) -> ecgfp5.PublicKey:  # noqa: B006 - a cache
    if secret not in known:
        known[secret] = ecgfp5.PublicKey(ecgfp5.public_key(scalar(secret)))
    return known[secret]


def test_known_answers() -> None:
    assert poseidon2.permute(list(range(12))) == [int(x) for x in ANSWERS["permutation_of_0_to_11"]]
    assert list(poseidon2.hash5(list(range(1, 11)))) == [int(x) for x in ANSWERS["hash5_of_1_to_10"]]
    assert poseidon2.hash5([]) == (0, 0, 0, 0, 0)
    assert ecgfp5.public_key(1).hex() == ANSWERS["public_key_of_sk_1"]
    assert ecgfp5.public_key(2).hex() == ANSWERS["public_key_of_sk_2"]
    assert ecgfp5.public_key(5).hex() == ANSWERS["encode_5G"]
    assert ecgfp5.public_key(ecgfp5.ORDER) == bytes(40)
    assert int(VECTORS["crypto"]["curve_order_n"]) == ecgfp5.ORDER


@pytest.mark.parametrize("name", TX_CASES)
def test_transactions_of_the_official_signer(name: str) -> None:
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    key = key_of(inputs["private_key"])
    assert key.encoded.hex() == expected["public_key"]
    for signature in (expected["sample_sig_b64"], expected["fixed_k_sig_b64"]):
        tx = signing.parse(expected["tx_type"], {**expected["tx_info_without_sig"], "Sig": signature})
        assert [str(limb) for limb in signing.preimage(tx, inputs["chain_id"])] == expected["body_preimage"]
        digest = signing.digest(tx, inputs["chain_id"])
        assert signing.hash_of(digest) == expected["tx_hash"]
        assert key.verifies(digest, tx.signature)
        assert not key.verifies(signing.digest(tx, inputs["chain_id"] + 1), tx.signature)
    made = ecgfp5.sign(scalar(inputs["private_key"]), scalar(expected["fixed_k_hex"]), digest)
    assert made == tx.signature


@pytest.mark.parametrize("name", TOKEN_CASES)
def test_auth_tokens_of_the_official_signer(name: str) -> None:
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    digest = signing.token_digest(expected["message"])
    assert ecgfp5.to_bytes(digest).hex() == expected["digest"]
    for token in (expected["sample_token"], expected["fixed_k_token"]):
        message, _, signature = token.rpartition(":")
        assert message == expected["message"]
        assert key_of(inputs["private_key"]).verifies(digest, bytes.fromhex(signature))


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    case = CASES["btc_limit_gtt_buy"]
    expected = case["expected"]
    key = key_of(case["inputs"]["private_key"])
    tx = signing.parse(expected["tx_type"], {**expected["tx_info_without_sig"], "Sig": expected["sample_sig_b64"]})
    digest = signing.digest(tx, 304)
    for at in (0, 39, 40, 79):
        spoilt = bytearray(tx.signature)
        spoilt[at] ^= 1
        assert not key.verifies(digest, bytes(spoilt))
    for name, value in expected["tx_info_without_sig"].items():
        if isinstance(value, int):
            other = signing.parse(
                expected["tx_type"],
                {**expected["tx_info_without_sig"], name: value ^ 1, "Sig": expected["sample_sig_b64"]},
            )
            assert signing.digest(other, 304) != digest, name
    assert not key.verifies(digest, tx.signature[:79])
    assert not key.verifies(digest, (ecgfp5.ORDER).to_bytes(40, "little") + tx.signature[40:])


def test_market_zero_is_a_market_and_other_zeros_are_nothing() -> None:
    """The signer hashes {"5": 0} (cancel all of market 0) and leaves {"1": 0} out."""
    expected = CASES["cancel_all_one_market"]["expected"]

    def digest(attributes: Any) -> ecgfp5.Field:
        info = {**expected["tx_info_without_sig"], "Sig": "", "L2TxAttributes": attributes}
        return signing.digest(signing.parse(16, info), 304)

    plain = digest(None)
    assert digest({"5": 0}) != plain
    assert digest({"5": 0}) != digest({"5": 1})
    assert digest({"1": 0, "2": 0, "3": 0}) == plain


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Price": 1 << 32}, "Price"), ({"Price": "5"}, "Price"), ({"Price": 1.5}, "Price"), ({"Price": -1}, "Price"),
        ({"ClientOrderIndex": 1 << 48}, "ClientOrderIndex"), ({"Nonce": 1 << 47}, "Nonce"), ({"ApiKeyIndex": 255}, "ApiKeyIndex"),
        ({"IsAsk": 2}, "IsAsk"), ({"L2TxAttributes": {"9": 1}}, "L2TxAttributes"), ({"L2TxAttributes": [1]}, "L2TxAttributes"),
        ({"L2TxAttributes": {"1": 1, "2": 1, "3": 1, "4": 1, "6": 1}}, "L2TxAttributes"),
    ],
)  # fmt: skip
def test_what_is_no_transaction_is_named(change: dict[str, Any], named: str) -> None:
    fields = CASES["btc_limit_gtt_buy"]["expected"]["tx_info_without_sig"]
    with pytest.raises(signing.Malformed, match=named):
        signing.parse(14, {**fields, **change})


def test_recorded_hashes() -> None:
    vectors = oracle("signing_hash_poseidon2_vectors.json")
    for vector in vectors["permute"]:
        assert poseidon2.permute(limbs(vector["input"])) == limbs(vector["output"])
    for vector in vectors["hash_to_quintic"]:
        assert list(poseidon2.hash5(limbs(vector["input"]))) == limbs(vector["output"])


def test_recorded_points() -> None:
    vectors = oracle("signing_curve_ecgfp5_vectors.json")
    for vector in vectors["decode"]:
        point = ecgfp5.decode(bytes.fromhex(vector["w"]))
        assert (point is not None) == vector["decodes"]
        assert point is None or ecgfp5.encode(point).hex() == vector["encoded_back"]
    for vector in vectors["add"]:
        a, b = (point_of(vector[name]) for name in ("a_w", "b_w"))
        assert ecgfp5.encode(ecgfp5.add(a, b)).hex() == vector["sum_w"]
        assert ecgfp5.encode(ecgfp5.add(a, a)).hex() == vector["a_double_w"]
    for vector in vectors["scalar_mul"]:
        product = ecgfp5.multiply(point_of(vector["base_w"]), scalar(vector["scalar_le"]))
        assert ecgfp5.encode(product).hex() == vector["out_w"]


def test_recorded_schnorr_signatures() -> None:
    vectors = oracle("signing_schnorr_vectors.json")
    for vector in vectors["keygen"]:
        assert ecgfp5.public_key(scalar(vector["sk"])).hex() == vector["pk"]
    for vector in vectors["sign"]:
        digest = ecgfp5.to_field(bytes.fromhex(vector["hashed_msg"]))
        assert ecgfp5.sign(scalar(vector["sk"]), scalar(vector["k"]), digest).hex() == vector["sig"]
    for vector in vectors["sign"][:4]:
        digest = ecgfp5.to_field(bytes.fromhex(vector["hashed_msg"]))
        assert key_of(vector["sk"]).verifies(digest, bytes.fromhex(vector["sig"]))


def test_recorded_transactions_and_tokens() -> None:
    for vector in oracle("signing_tx_oracle.json"):
        tx = signing.parse(vector["tx_type"], vector["tx_info"])
        digest = signing.digest(tx, vector["chain_id"])
        assert signing.hash_of(digest) == vector["tx_hash"], vector["kind"]
        assert key_of(vector["sk"]).verifies(digest, tx.signature), vector["kind"]
    for vector in oracle("signing_auth_token_oracle.json"):
        message, _, signature = vector["token"].rpartition(":")
        assert key_of(vector["sk"]).verifies(signing.token_digest(message), bytes.fromhex(signature))


def test_no_key_is_made_of_no_point() -> None:
    for text in (
        "00" * 40,
        "ff" * 40,
        "e44b0bc4331927bcbb359652c87774d9dc6f1737312f71762516b2bca4efeeadacdb757780e03146",
    ):
        with pytest.raises(ValueError, match="not a public key"):
            ecgfp5.PublicKey(bytes.fromhex(text))


def point_of(text: str) -> ecgfp5.Point:
    point = ecgfp5.decode(bytes.fromhex(text))
    assert point is not None
    return point
