"""Measure wsroom and its peers side by side: `python3 -m tests.benchmarks`.

Needs nothing but Python 3.11, cc, node and npm. Writes docs/benchmarks.md, .png and .json when
all was measured; with --only the page goes into the scratch folder.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.lab import ROOT, Lab
from tests.benchmarks.peer import Peer
from tests.benchmarks.results import Run
from tests.benchmarks.scenarios import GROUPS, Group, open_files
from tests.benchmarks.servers import Failed, serve


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", help='of "scenario: peer"; for a part of it all')
    parser.add_argument("--seconds", type=float, default=3, help="measured for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="the median of which is shown")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the scratch folder, kept")
    return parser.parse_args()


def wanted(group: Group, peer: Peer, only: str | None) -> bool:
    return only is None or any(re.search(only, f"{name}: {peer.name}") for name in group.names)


def measure(lab: Lab, run: Run, number: int, group: Group, peer: Peer) -> None:
    """Run the group's scenarios for one peer in one round; what fails is written down."""
    missing = list(group.names)
    try:
        with serve(lab, peer) as server:
            for name, figures in group.run(server, str(run.seconds)):
                missing.remove(name)
                run.add(number, name, peer.name, figures)
                print(f"  {number} {name}: {peer.name}: {report.in_short(figures)}", flush=True)
    except (Failed, OSError) as exc:
        print(f"  {number} {missing[0]}: {peer.name}: {exc}", flush=True)
        for name in missing:
            run.fail(number, name, peer.name, str(exc))


def main(folder: Path, options: argparse.Namespace) -> None:
    lab = Lab(folder)
    lab.install()
    run = Run(lab.machine(), options.seconds, options.rounds, open_files())
    for number in range(1, options.rounds + 1):
        for group in GROUPS:
            for peer in group.peers:
                if wanted(group, peer, options.only):
                    measure(lab, run, number, group, peer)
    docs = ROOT / "docs" if options.only is None else folder
    report.write(lab, run, docs)
    print(f"wrote {docs / 'benchmarks.md'}")


if __name__ == "__main__":
    options = arguments()
    try:
        if options.keep:
            main(options.keep.resolve(), options)
        elif options.only is None:
            with tempfile.TemporaryDirectory(prefix="wsroom-benchmarks-") as scratch:
                main(Path(scratch), options)
        else:
            main(Path(tempfile.mkdtemp(prefix="wsroom-benchmarks-")), options)
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)
