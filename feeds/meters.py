"""The counters of one feed, on its counters page.

What the book itself says (whether the venue is up, every quote's age by RULES 2) is exported from there and not counted
twice: a hung feed would go on showing its last age.
"""

from __future__ import annotations

from bookshm.counters import CountersWriter
from core.types import Venue

SERIES = 32
DECODE_BUCKETS_S = (2e-6, 4e-6, 6e-6, 8e-6, 12e-6, 16e-6, 24e-6, 50e-6, 100e-6, 1e-3)


class Meters:
    """Handles by plain names; one venue, one thread."""

    def __init__(self, page: CountersWriter, venue: Venue) -> None:
        labels = {"venue": str(venue)}
        self.frames = page.counter("feed_frames_total", labels)
        self.malformed = page.counter("feed_malformed_total", labels)
        self.gaps = page.counter("feed_gaps_total", labels)
        self.connects = page.counter("feed_connects_total", labels)
        self.reconnects = page.counter("feed_reconnects_total", labels)
        self.rotations = page.counter("feed_rotations_total", labels)
        self.venue_errors = page.counter("feed_venue_errors_total", labels)
        self.quotes = page.counter("feed_quotes_total", labels)
        self.out_of_order = page.counter("feed_out_of_order_total", labels)
        self.late = page.counter("feed_late_quotes_total", labels)
        self.funding_refused = page.counter("feed_funding_refused_total", labels)
        self.rest_reads = page.counter("feed_rest_reads_total", labels)
        self.rest_errors = page.counter("feed_rest_errors_total", labels)
        self.recorded = page.counter("feed_recorded_total", labels)
        self.recorder_dropped = page.counter("feed_recorder_dropped_total", labels)
        self.recording = page.gauge("feed_recording", labels)
        self.sockets_up = page.gauge("feed_sockets_up", labels)
        self.symbols = page.gauge("feed_symbols", labels)
        self.last_message_s = page.gauge("feed_last_message_timestamp_seconds", labels)
        self.median_lag_s = page.gauge("feed_median_lag_seconds", labels)
        self.decode_to_publish = page.histogram("feed_decode_to_publish_seconds", labels, DECODE_BUCKETS_S)
