"""Measure wsroom and its peers side by side: `python3 -m tests.benchmarks`.

Needs nothing but Python 3.11, cc, node and npm. Writes docs/benchmarks.md, .png and .json when
all was measured; with --only the page goes into the scratch folder.
"""

from __future__ import annotations

import argparse
import contextlib
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
from tests.benchmarks.servers import Failed, Figures, Results, medians, serve


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="REGEX", help='of "scenario: peer"; for a part of it all')
    parser.add_argument("--seconds", type=float, default=3, help="measured for each figure")
    parser.add_argument("--rounds", type=int, default=3, help="the median of which is shown")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the scratch folder, kept")
    return parser.parse_args()


def wanted(group: Group, peer: Peer, only: str | None) -> bool:
    return only is None or any(re.search(only, f"{name}: {peer.name}") for name in group.names)


def measure(lab: Lab, run: Run, number: int, group: Group, peers: list[Peer]) -> None:
    """Run the group's scenarios in one round, each with all peers in turn; note what fails.

    All servers are there at once, so that what is compared is measured seconds apart.
    """
    with contextlib.ExitStack() as stack:
        results: dict[Peer, Results] = {}
        failed: dict[Peer, str] = {}
        for peer in peers:
            try:
                server = stack.enter_context(serve(lab, peer))
            except (Failed, OSError) as exc:
                failed[peer] = str(exc)
            else:
                results[peer] = group.run(server, str(run.seconds))
                stack.callback(results[peer].close)
        for name in group.names:
            slices = take_turns(group.turns, results, failed)
            for peer in peers:
                if peer in failed:
                    run.fail(number, name, peer.name, failed[peer])
                    told = failed[peer]
                else:
                    figures = medians(slices[peer])
                    run.add(number, name, peer.name, figures)
                    told = report.in_short(name, figures)
                print(f"  {number} {name}: {peer.name}: {told}", flush=True)


def take_turns(
    turns: int, results: dict[Peer, Results], failed: dict[Peer, str]
) -> dict[Peer, list[Figures]]:
    """Give the next figures of all peers, which take turns: what happens then happens to all."""
    slices: dict[Peer, list[Figures]] = {peer: [] for peer in results}
    for _ in range(turns):
        for peer in results:
            try:
                if peer not in failed:
                    slices[peer].append(next(results[peer])[1])
            except (Failed, OSError) as exc:
                failed[peer] = str(exc)
    return slices


def main(folder: Path, options: argparse.Namespace) -> None:
    lab = Lab(folder)
    lab.install()
    run = Run(lab.machine(), options.seconds, options.rounds, open_files())
    for number in range(1, options.rounds + 1):
        for group in GROUPS:
            peers = [peer for peer in group.peers if wanted(group, peer, options.only)]
            if peers:
                measure(lab, run, number, group, peers)
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
