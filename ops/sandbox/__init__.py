"""The outside world on loopback: venues that speak the real wire protocols."""
