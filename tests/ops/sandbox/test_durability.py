"""What must outlive a SIGKILL: the log's lines, and through them accounts, orders, positions, nonces and client ids."""

from __future__ import annotations

import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.info import Info
from hyperliquid.utils.types import Cloid

from core.errors import BusyError, ConfigError
from core.types import TimeInForce
from ops.sandbox.appendlog import AppendLog, Record
from ops.sandbox.model import MarketState, NonceVerdict, Transaction
from tests.ops.sandbox.process import SandboxProcess
from tests.ops.sandbox.small_exchange import ALICE, D, Small

STATE = MarketState(step=5, fair={"BTC": 1.5}, basis_bps={}, smooth_bps={})


def written(path: Path, *records: Record) -> bytes:
    log = AppendLog(path)
    list(log.read())
    for record in records:
        log.append(record)
    log.close()
    return path.read_bytes()


def read(path: Path) -> list[Record]:
    log = AppendLog(path)
    records = list(log.read())
    log.close()
    return records


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    transaction = Transaction(venue="test", nonces=[("0xabc", 17)])
    written(tmp_path / "log", STATE, transaction)
    assert read(tmp_path / "log") == [STATE, transaction]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_torn_end_is_cut_at_every_length_and_writing_goes_on(tmp_path: Path) -> None:
    whole = written(tmp_path / "log", STATE, Transaction(venue="a"), Transaction(venue="b"))
    first_two = whole[: whole.rindex(b"\n", 0, -1) + 1]
    for length in range(len(first_two), len(whole)):
        path = tmp_path / f"cut{length}"
        path.write_bytes(whole[:length])
        assert read(path) == [STATE, Transaction(venue="a")]
        written(path, Transaction(venue="c"))
        assert read(path)[-1] == Transaction(venue="c")


def test_a_flipped_byte_ends_the_history_before_it(tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "log", STATE, Transaction(venue="a")))
    whole[-4] ^= 1
    (tmp_path / "log").write_bytes(bytes(whole))
    assert read(tmp_path / "log") == [STATE]


def test_another_versions_log_is_refused_by_name(tmp_path: Path) -> None:
    body = b'{"type":"books","venue":5}'
    (tmp_path / "log").write_bytes(b"%08x %b\n" % (zlib.crc32(body), body))
    with pytest.raises(ConfigError, match=r"log: was written by another version .* remove the file"):
        read(tmp_path / "log")


def test_a_rewrite_replaces_history_by_the_present(tmp_path: Path) -> None:
    log = AppendLog(tmp_path / "log")
    for _ in range(50):
        log.append(STATE)
    log.rewrite([STATE, Transaction(venue="a")])
    log.append(Transaction(venue="b"))
    log.close()
    assert read(tmp_path / "log") == [STATE, Transaction(venue="a"), Transaction(venue="b")]


def test_a_second_writer_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = AppendLog(tmp_path / "log")
    first.rewrite([STATE])  # the lock holds on the new file too
    with pytest.raises(BusyError, match="another sandbox is writing it"):
        AppendLog(tmp_path / "log")
    first.close()
    assert read(tmp_path / "log") == [STATE]


def busy() -> Small:
    small = Small()
    small.buy("5", "100.01", client_id="taken")
    small.place(small.buy("1", "99", TimeInForce.GTC).order.side, "1", "98", TimeInForce.GTC, client_id="resting")
    small.exchange.set_leverage(ALICE, "kDEF", 3, cross=False)
    small.exchange.set_extra(ALICE, "key", "value")
    for nonce in (5, 9, 7):
        small.exchange.use_nonce("0xsigner", nonce, keep=3)
    return small


@pytest.mark.parametrize("through", ["log", "snapshot"])
def test_an_exchange_is_rebuilt_from_its_log_and_from_a_snapshot(through: str) -> None:
    old = busy()
    log = tuple(old.transactions if through == "log" else old.exchange.ledger.snapshot())
    new = Small(log=log, clock=old.clock)
    assert new.exchange.account(ALICE) == old.exchange.account(ALICE)
    assert new.exchange.fills(ALICE) == old.exchange.fills(ALICE)
    assert new.exchange.orders(ALICE) == old.exchange.orders(ALICE)
    assert len(new.exchange.open_orders(ALICE)) == 2
    known = new.exchange.order(ALICE, client_id="resting")
    assert known is not None
    assert new.exchange.use_nonce("0xsigner", 7, keep=3) is NonceVerdict.DUPLICATE
    assert new.exchange.use_nonce("0xsigner", 4, keep=3) is NonceVerdict.TOO_LOW
    assert new.exchange.use_nonce("0xsigner", 8, keep=3) is NonceVerdict.OK
    assert new.buy("1", "100.01").order.order_id > max(order.order_id for order in old.exchange.orders(ALICE))
    new.quote(98.5)  # the resting order at 99 rests again, so the market reaches it
    assert new.held() == 7
    assert new.cash() != D(10_000)


@pytest.mark.parametrize("how", ["position", "order"])
def test_books_in_a_contract_that_is_no_longer_listed_are_not_forgotten_silently(how: str) -> None:
    old = Small()
    (old.buy if how == "position" else old.sell)("1", "100.01", TimeInForce.GTC)
    log = msgspec.json.decode(msgspec.json.encode(old.transactions).replace(b'"ABC"', b'"XYZ"'), type=list[Transaction])
    with pytest.raises(ConfigError, match=r"sandbox\.symbols: the books of test hold XYZ"):
        Small(log=tuple(log))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path, extra="quotes_per_s = 100.0") as process:
        yield process


def test_sigkill_of_the_real_process_loses_nothing(sandbox: SandboxProcess) -> None:
    cloid, nonce = Cloid.from_int(0xD00D), int(time.time() * 1000) - 5_000
    client = Exchange(sandbox.agent, sandbox.url, account_address=sandbox.master)
    client.update_leverage(3, "ETH")
    mid = float(client.info.all_mids()["ETH"])
    client.order("ETH", True, 0.01, round(mid * 0.9, 1), {"limit": {"tif": "Gtc"}}, cloid=cloid)
    assert client.noop(nonce)["status"] == "ok"
    assert "filled" in client.market_open("ETH", True, 0.05)["response"]["data"]["statuses"][0]
    before = sandbox.account()
    assert sandbox.stop(signal.SIGKILL) == -signal.SIGKILL
    client.session.close()
    client.info.session.close()

    sandbox.start()
    after = sandbox.account()
    for key in ("cash_usd", "agents", "orders", "fill_rows", "fees_usd"):
        assert after[key] == before[key], key
    assert after["positions"]["ETH"]["qty"] == before["positions"]["ETH"]["qty"]
    info = Info(sandbox.url, skip_ws=True)
    again = Exchange(Account.from_key(sandbox.agent.key), sandbox.url, account_address=sandbox.master)
    assert info.query_order_by_cloid(sandbox.master, cloid)["order"]["status"] == "open"
    assert again.noop(nonce) == {"status": "err", "response": f"Invalid nonce: duplicate nonce {nonce}"}
    assert info.user_state(sandbox.master)["assetPositions"][0]["position"]["leverage"]["value"] == 3
    assert abs(float(info.all_mids()["ETH"]) / mid - 1) < 0.01  # the market goes on, it does not start anew
    assert again.cancel_by_cloid("ETH", cloid)["response"]["data"]["statuses"] == ["success"]
    for one in (info, again, again.info):
        one.session.close()
