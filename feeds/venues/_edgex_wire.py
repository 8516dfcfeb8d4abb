"""The shapes of EdgeX's public frames and answers, and their decoders (docs/venues/edgex.md 1, 3, 4).

All numbers are texts; ids are texts of digits. `channel` stands in the frame, and once more in its content.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from feeds.venues.base import Millis

Version = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
ContractId = Annotated[int, Meta(gt=0, le=(1 << 31) - 1)]
SUCCESS = "SUCCESS"


class WireLevel(msgspec.Struct, gc=False):
    price: float
    size: float


class WireDepth(msgspec.Struct, gc=False):
    startVersion: Version
    endVersion: Version
    contractId: ContractId
    asks: list[WireLevel]
    bids: list[WireLevel]
    depthType: str


class DepthContent(msgspec.Struct, gc=False):
    data: list[WireDepth]


class DepthFrame(msgspec.Struct, gc=False):
    type: str
    channel: str
    content: DepthContent


class Rows(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]


class RowsFrame(msgspec.Struct, gc=False):
    type: str
    channel: str
    content: Rows


class BookTicker(msgspec.Struct, gc=False):
    """A side that is empty comes as "0"."""

    contractId: ContractId
    contractName: str
    time: Millis
    bestAskPrice: float
    bestBidPrice: float


class Ticker(msgspec.Struct, gc=False):
    """Of the 24 h row; `endTime` is the end of its window, not a time of the event."""

    contractId: ContractId
    contractName: str
    markPrice: float
    indexPrice: float
    openInterest: float
    value: float
    fundingRate: float
    fundingTime: Millis
    nextFundingTime: Millis


class Refusal(msgspec.Struct):
    code: str = ""
    msg: str | None = None


class Envelope(msgspec.Struct):
    """Everything that is not market data. `content` of an error carries a word."""

    type: str
    channel: str = ""
    time: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class FundingRow(msgspec.Struct):
    contractId: ContractId
    fundingTime: Millis
    fundingRate: float
    isSettlement: bool
    fundingRateIntervalMin: int


class FundingPage(msgspec.Struct):
    dataList: list[FundingRow]


class FundingAnswer(msgspec.Struct):
    code: str
    data: FundingPage | None = None


depths = msgspec.json.Decoder(DepthFrame, strict=False)
rows = msgspec.json.Decoder(RowsFrame)
book_tickers = msgspec.json.Decoder(BookTicker, strict=False)
tickers = msgspec.json.Decoder(Ticker, strict=False)
envelopes = msgspec.json.Decoder(Envelope)
refusals = msgspec.json.Decoder(Refusal)
fundings = msgspec.json.Decoder(FundingAnswer, strict=False)


def ask(kind: str, channel: str) -> bytes:
    """The frame that subscribes or unsubscribes one channel."""
    return b'{"type":"%s","channel":"%s"}' % (kind.encode(), channel.encode())


def pong(time: str) -> bytes:
    return msgspec.json.encode({"type": "pong", "time": time})
