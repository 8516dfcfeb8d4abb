"""Decisions over shared-memory books, without network or secrets."""
