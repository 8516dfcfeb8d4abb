"""What crosses process walls in shared memory: books, account page, counters, decisions and bells."""
