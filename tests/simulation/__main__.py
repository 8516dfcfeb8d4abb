"""`python -m tests.simulation`: many schedules, or one replayed."""

import sys

from tests.simulation.schedule import run

seed = int(sys.argv[1])
r = run(seed, keep_trace=True)
print("\n".join(r.trace[-int(sys.argv[2]) if len(sys.argv) > 2 else -200 :]))
r.trace = []
print(r)
