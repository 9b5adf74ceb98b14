"""How fast the relay is, next to what the machine can do: `make bench` runs it, half an hour; --quick takes a few minutes.

    python ops/bench/relay.py [--quick] [--only speed two peers held growth]

Makes a database and a vhost of its own and drops them. Contestants take turns within a round, so that other load on the
machine hits them alike: read the ratios. DATABASE_URL and BROKER_URL say where PostgreSQL and RabbitMQ are.
"""

# ruff: noqa: PLC0415 - Django is set up first

import argparse
import sys

import report
from private import ROOT, django, servers

PARTS = ["speed", "two", "peers", "held", "growth"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and rows")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--drain", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drain:
        drain_only(options.drain)
        return
    rounds, count = (3, 5_000) if options.quick else (5, 20_000)
    with servers("relay"):
        django("outbox")
        import contestants
        from growth import claims, held
        from rig import Rig
        from speed import peers, speed, two

        rig = Rig()
        report.head()
        rig.rate(contestants.ours, 1000)
        parts = {
            "speed": lambda: speed(rig, rounds, count),
            "two": lambda: two(rig, rounds, 3 * count),
            "peers": lambda: peers(rig, rounds, count),
            "held": lambda: held(rig, 40_000 if options.quick else 200_000),
            "growth": lambda: claims(
                rig, *((200_000, 50_000, 0) if options.quick else (1_000_000, 200_000, 5_000_000))
            ),
        }
        for part in options.only:
            parts[part]()
        report.json_lines()
        rig.raw_db.close()


def drain_only(batch: int) -> None:
    """The process of one relay; the database and the vhost are in its environment."""
    sys.path.insert(0, str(ROOT))
    import django as framework

    framework.setup()
    from rig import drain

    drain(batch)


if __name__ == "__main__":
    main()
