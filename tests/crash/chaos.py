"""`python -m tests.crash.chaos --rounds 200 --seed N`: blow after blow against a supervised system, with pairs open.

Programs killed or stopped, venues away, and every fault of the sandbox (tests.crash.blows), at rest or with orders on their
way. After each blow everything returns by itself; at the end no client order id is twice at any venue, nothing is naked, no
order is without a pair, no outcome unknown, and the books are equal everywhere: the journal replayed, the account page, and the
venues. A failure prints its seed and the command that repeats it (the same blows; what they meet is up to the machine).
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.crash.rough import Rough, Round, summary, table

LONG_S = 5.0  # beyond the bound for unwinding (RULES 5): the executor's own log tells why
LINES = 80


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tests.crash.chaos", description="Blow after blow against a supervised system."
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--venues", help="only these, by comma; all when left out")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    args = parser.parse_args(argv)
    print(f"{args.rounds} rounds, seed {args.seed}", flush=True)
    rounds: list[Round] = []
    try:
        with Rough(args.seed, tuple(args.venues.split(",")) if args.venues else None) as system:
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
        words = f" --venues {args.venues}" if args.venues else ""
        print(f"repeat it with: .venv/bin/python -m tests.crash.chaos --rounds {args.rounds} --seed {args.seed}{words}")
        return 1
    print(f"\n{table(rounds)}\n")
    print(summary(rounds))
    if page is not None:
        print(f"{page.pairs_opened} pairs opened, {page.pairs_closed} closed")
    print("nothing sent twice; journal, account page and venues equal; nothing naked, no orphan, no unknown outcome")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
