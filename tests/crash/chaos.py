"""`python -m tests.crash.chaos --rounds 20 --seed N`: SIGKILL of random programs at random moments, with pairs open.

A supervised system of its own. After each kill everything returns by itself; at the end no client order id is twice at any
venue, the journal's positions are the venues' positions, nothing is naked, no order is without a pair, no outcome unknown.
A failure prints its seed and the command that repeats it (the same kills; what they meet is up to the machine).
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.crash.rough import Rough, Round, table

LONG_S = 5.0  # beyond the bound for unwinding (RULES 5): the executor's own log tells why
LINES = 80


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.crash.chaos", description="Kill programs at random.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    args = parser.parse_args(argv)
    print(f"{args.rounds} rounds, seed {args.seed}", flush=True)
    rounds: list[Round] = []
    try:
        with Rough(args.seed) as system:
            system.up()
            for number in range(1, args.rounds + 1):
                rounds.append(system.random_round())
                print(f"{number:>3} {table(rounds[-1:]).splitlines()[1]}", flush=True)
                if rounds[-1].naked_s > LONG_S:
                    print("\n".join(system.log("executor").splitlines()[-LINES:]), flush=True)
            system.verify()
            page = system.page()
    except AssertionError as error:
        print(f"\n{table(rounds)}\n\nFAILED after {len(rounds)} rounds with seed {args.seed}: {error}")
        print(f"repeat it with: .venv/bin/python -m tests.crash.chaos --rounds {args.rounds} --seed {args.seed}")
        return 1
    print(f"\n{table(rounds)}\n")
    print(f"longest naked {max(r.naked_s for r in rounds):.3f} s, largest {max(r.naked_usd for r in rounds):.0f} USD")
    if page is not None:
        print(f"{page.pairs_opened} pairs opened, {page.pairs_closed} closed")
    print("nothing sent twice, journal equals venues, nothing naked, no orphan, no unknown outcome")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
