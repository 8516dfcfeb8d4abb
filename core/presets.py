"""Named sets of strategy numbers (RULES 7). A key in the file beats the preset; `config show` says which one spoke.

`seed` and `seed_conservative` are the numbers of existing systems, kept as they were; `default` and `conservative` are
ours. `sandbox` is `seed` with the sandbox's short offset window, for its exaggerated market.
"""

from __future__ import annotations

from typing import Any

_SCALP_COMMON: dict[str, Any] = {
    "min_profit_bps": 2.0,
    "take_profit_ratio": 0.15,
    "stop_basis_bps": 100.0,
    "stop_leg_pct": 25.0,
    "max_hold_s": 600.0,
    "cooldown_s": 10.0,
    "alloc_per_trade": 0.05,
    "max_alloc": 0.20,
    "top_qty_ratio": 0.5,
    "ttl_ms": 250.0,
    "offset_window_s": 1800.0,
    "offset_min_samples": 600,
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "scalp": {
        "seed": {**_SCALP_COMMON, "spread_entry_bps": 40.0, "slippage_buffer_bps": 2.0},
        "seed_conservative": {
            **_SCALP_COMMON,
            "spread_entry_bps": 35.0,
            "slippage_buffer_bps": 5.0,
            "stop_basis_bps": 50.0,
        },
        "default": {**_SCALP_COMMON, "spread_entry_bps": 40.0, "slippage_buffer_bps": 2.0},
        "conservative": {
            **_SCALP_COMMON,
            "spread_entry_bps": 50.0,
            "slippage_buffer_bps": 5.0,
            "stop_basis_bps": 50.0,
        },
    },
}
