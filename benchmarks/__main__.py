"""`script/bench`: see --help."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks import distribution, image, report, servers
from benchmarks.connection import BadAnswer
from benchmarks.content import BLOCK, MIB
from benchmarks.measures import MEASURES, Plan
from benchmarks.rounds import Comparison, compare
from benchmarks.servers import Server

DESCRIPTION = """
Measure Layerstore beside distribution, the CNCF's registry, on this machine: both on one file system, in turn, over the
loopback interface. Builds distribution the first time (that needs Go). Everything lies in a temporary directory and is
gone afterwards. Needs Linux.
"""
EPILOG = """
measures (all of them when none is named):
{measures}

examples:
  script/bench                                   everything, on a quiet machine; takes some minutes
  script/bench --size 64M --runs 1 --seconds 1   does it all still work?
  script/bench push-chunks push-length           pushes only
  REGISTRY_WORKER=gthread REGISTRY_WORKERS=4 script/bench manifest-16
                                                 Layerstore with other settings: docs/configuration.md

In the table the ratio says how many times better Layerstore is: above 1 it is faster, or takes less. Each figure is the
median of all runs; the lowest and the highest follow in parentheses. docs/benchmarks.md explains the figures.
"""


class TimeIsUp(Exception):
    """The run took longer than it may."""


def main() -> int:
    options = _options()
    _bound(options.limit)
    try:
        with tempfile.TemporaryDirectory(prefix="layerstore-bench-", dir=options.directory) as directory:
            settings = {"distribution": options.distribution, "size": options.size, **report.machine(Path(directory))}
            tell(", ".join(f"{name} {value}" for name, value in settings.items() if value))
            comparisons = list(_compare(options, Path(directory)))
    except (BadAnswer, OSError, RuntimeError, AssertionError, distribution.CannotBuild, TimeIsUp) as error:
        print(f"script/bench: {error or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(report.table(comparisons))
    if options.json:
        options.json.write_text(report.as_json(comparisons, settings), encoding="utf-8")
    return 0


def _compare(options: argparse.Namespace, directory: Path) -> Iterator[Comparison]:
    """Start what the chosen measures need, and make a comparison for each of them."""
    chosen = {name: measure for name, measure in MEASURES.items() if name in (options.measures or MEASURES)}
    plan = Plan(image.make(options.size), options.size, options.seconds, options.unread)
    if registries := {name: measure for name, measure in chosen.items() if not measure.workers}:
        with _registries(options, directory) as pair:
            tell("publishing an image on both")
            for server in pair:
                image.publish(server, plan.image)
            for name, measure in registries.items():
                yield compare(name, measure, pair, plan, options.runs, tell)
    if workers := {name: measure for name, measure in chosen.items() if measure.workers}:
        with servers.hello(directory, servers.LOOP_WORKER) as ours, servers.hello(directory, "gthread") as theirs:
            for name, measure in workers.items():
                yield compare(name, measure, (ours, theirs), plan, options.runs, tell)


@contextmanager
def _registries(options: argparse.Namespace, directory: Path) -> Iterator[tuple[Server, Server]]:
    tell(f"distribution {options.distribution}: building it, unless that is done already")
    program = distribution.program(options.distribution)
    tell("starting both registries")
    with servers.layerstore(directory) as ours, servers.distribution(directory, program) as theirs:
        yield ours, theirs


def tell(progress: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {progress}", file=sys.stderr, flush=True)


def _bound(minutes: float) -> None:
    """End in any case, and in order: what was started is stopped on the way out."""

    def time_is_up(_signal: int, _frame: FrameType | None) -> None:
        raise TimeIsUp(f"this took longer than {minutes:g} minutes; --limit allows more")

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGALRM, time_is_up)
    signal.signal(signal.SIGTERM, terminated)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description=DESCRIPTION,
        epilog=EPILOG.format(measures="\n".join(f"  {name:14} {measure.title}" for name, measure in MEASURES.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option("measures", nargs="*", type=_name, metavar="MEASURE", help="what to measure (default: all)")
    option(
        "--size", type=_size, default="1G", metavar="SIZE", help="of a layer: 64M, 1G, a multiple of 8M (default: 1G)"
    )
    option("--runs", type=int, default=5, metavar="N", help="of each measure on each server (default: 5)")
    option("--seconds", type=float, default=5, metavar="S", help="length of a run of GETs (default: 5)")
    option("--unread", action="store_true", help="clients that pull let the kernel drop what comes, without a copy")
    option("--json", type=Path, metavar="FILE", help="also write all figures of all runs there")
    option("--directory", type=Path, metavar="DIR", help="the file system to use (default: that for temporary files)")
    option("--distribution", default=distribution.VERSION, metavar="VERSION", help="(default: %(default)s)")
    option("--limit", type=float, default=40, metavar="MINUTES", help="give up after this long (default: 40)")
    options = parser.parse_args()
    if options.runs < 1 or options.seconds <= 0 or options.limit <= 0:
        parser.error("--runs, --seconds and --limit have to be above 0")
    return options


def _name(text: str) -> str:
    if text not in MEASURES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(MEASURES)}")
    return text


def _size(text: str) -> int:
    """Bytes."""
    number, unit = text[:-1], {"M": MIB, "G": 1024 * MIB}.get(text[-1:])
    if unit is None or not number.isdecimal() or not int(number) or int(number) * unit % BLOCK:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 8M, like 64M or 1G")
    return int(number) * unit


if __name__ == "__main__":
    sys.exit(main())
