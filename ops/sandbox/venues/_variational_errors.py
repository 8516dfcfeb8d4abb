"""Refusals of the simulated Variational (docs/venues/variational.md 10). Whatever passed the session layer is stamped."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

STAMP = {"x-omni-auth": "r"}
BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, UNPROCESSABLE, TOO_MANY = 400, 401, 404, 422, 429


class ApiError(Exception):
    """An answer that says no."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers = headers or {}

    def answer(self) -> web.Response:
        return web.Response(
            status=self.status,
            body=orjson.dumps(self.body),
            content_type="application/json",
            headers={**STAMP, **self.headers},
        )


def malformed(text: str) -> ApiError:
    return ApiError(BAD_REQUEST, {"message": text})


def refused(code: str, text: str, **more: Any) -> ApiError:
    return ApiError(UNPROCESSABLE, {"error_code": code, "passed": False, "message": text, **more})


def off_step(step: str) -> ApiError:
    return ApiError(
        UNPROCESSABLE, {"error_code": "min_qty_tick", "message": f"qty does not match min_qty_tick ({step})"}
    )


def no_session(text: str = "No token") -> ApiError:
    return ApiError(UNAUTHORIZED, {"message": text})


def too_many(wait_s: float) -> ApiError:
    body = {"message": "Too many requests", "wait_until_seconds": round(wait_s, 3)}
    return ApiError(TOO_MANY, body, {"x-rate-limit-resets-in-ms": str(int(wait_s * 1000))})
