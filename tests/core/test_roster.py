"""Venues find themselves: a module of core/specs is a row, and a row that does not fit is told by module and reason."""

from __future__ import annotations

import pkgutil
from types import ModuleType

import msgspec
import pytest

from core import specs
from core.errors import ConfigError
from core.roster import SPEC, VENUES, collect
from core.types import Venue
from core.venue_spec import ETHEREUM_ADDRESS, Credential, Proof, VenueKind, VenueSpec


def row(name: str, *credentials: Credential) -> VenueSpec:
    return VenueSpec(
        name=Venue(name),
        title=name.title(),
        kind=VenueKind.PERP,
        quote_ccy="USDC",
        proof=Proof.SOCKET,
        taker_fee=0.0,
        maker_fee=0.0,
        order_ttl_ms=1000,
        credentials=credentials or (Credential(f"{name.upper()}_ADDRESS", secret=False, form=ETHEREUM_ADDRESS),),
        credentials_advice="none.",
    )


def module(name: str, spec: object) -> ModuleType:
    made = ModuleType(f"core.specs.{name}")
    if spec is not None:
        made.__dict__["SPEC"] = spec
    return made


def test_every_public_module_of_specs_is_a_venue_and_nothing_else_is() -> None:
    names = [each.name for each in pkgutil.iter_modules(specs.__path__) if not each.name.startswith("_")]
    assert [spec.name for spec in VENUES] == sorted(names)
    assert list(SPEC) == sorted(names)


def test_rows_come_by_name_whatever_the_order_of_the_modules() -> None:
    rows = collect([module(name, row(name)) for name in ("beta", "gamma", "alpha")])
    assert [each.name for each in rows] == ["alpha", "beta", "gamma"]


def test_the_account_is_the_first_credential_that_is_no_secret() -> None:
    first, second = (Credential(name, secret=False, form=ETHEREUM_ADDRESS) for name in ("X_ONE", "X_TWO"))
    assert row("x", Credential("X_KEY"), first, second).account is first


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([module("x", None)], ("core.specs.x", "no SPEC")),
        ([module("x", {"name": "x"})], ("core.specs.x", "no SPEC")),
        ([module("x", row("y"))], ("core.specs.x", "'y'", "'x'")),
        ([module("x", row("x")), module("y", row("x"))], ("core.specs.y", "'x'", "'y'")),
        ([module("x", row("x", Credential("X_KEY")))], ("core.specs.x", "no credential names the account")),
        (
            [module("x", row("x")), module("y", row("y", Credential("Y", ("X_ADDRESS",), secret=False)))],
            ("core.specs.y", "X_ADDRESS", "taken by x"),
        ),
        (
            [module("x", row("x", Credential("K"), Credential("A", retired=("K",), secret=False)))],
            ("core.specs.x", "K is taken by x"),
        ),
    ],
    ids=["none", "no row", "other name", "twice", "no account", "taken by another", "taken by itself"],
)
def test_a_row_that_does_not_fit_is_told(modules: list[ModuleType], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        collect(modules)
    for word in words:
        assert word in str(caught.value), caught.value


def test_a_row_is_data() -> None:
    with pytest.raises(AttributeError):
        VENUES[0].title = "other"  # type: ignore[misc]
    assert all(isinstance(spec, msgspec.Struct) and spec.name.islower() for spec in VENUES)
