"""Faces drawn a second, beside an earlier version of the renderer, in turns in one run.

    python benchmarks/faces.py [--against REVISION] [--size 128] [--batch 32] [--device cuda]

Without --against the earlier version is the last commit in which the renderer differed from the
working tree. Turns make the ratio hold on a machine whose speed drifts.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RENDERER = "mmagan_lite/faces"

TURN = """
import resource, sys, time, torch
from mmagan_lite import faces
size, batch, device = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
people = torch.arange(batch, device=device)
def draw(turn):
    faces.render(people + batch * turn, people % 8, 0.7, people, size).cpu()
draw(0)
start, cpu, turns = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - start < 2 or turns < 3:
    turns += 1
    draw(turns)
wall, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(turns * batch / wall, turns * batch / cpu, peak / 1e3, (peak - before) / 1e3)
"""


def main() -> None:
    """Measure both versions in turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="REVISION", help="a commit to compare with")
    parser.add_argument("--size", type=int, default=128, help="pixels [%(default)s]")
    parser.add_argument("--batch", type=int, default=32, help="faces at a time [%(default)s]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [%(default)s]")
    parser.add_argument("--turns", type=int, default=5, help="for each version [%(default)s]")
    args = parser.parse_args()
    revision = args.against or earlier()
    options = [str(args.size), str(args.batch), args.device]
    with tempfile.TemporaryDirectory() as folder:
        unpack(revision, folder)
        versions = {"this version": ROOT, revision[:10]: Path(folder)}
        found = {name: [] for name in versions}
        for _ in range(args.turns):
            for name, place in versions.items():
                found[name].append(measure(place, options))
    print(f"{args.batch} faces at a time, {args.size} px, {args.device}; medians of {args.turns}")
    for name, turns in found.items():
        wall, cpu, peak, added = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"{name:14} {wall:8.1f} faces/s, {cpu:7.1f} per CPU second, "
              f"peak {peak:.0f} MB, {added:.0f} MB of it for drawing")  # fmt: skip
    ratios = [now[0] / then[0] for now, then in zip(*found.values(), strict=True)]
    print(f"ratio          {statistics.median(ratios):.2f} (pairs from {min(ratios):.2f} to "
          f"{max(ratios):.2f})")  # fmt: skip


def git(*arguments: str) -> bytes:
    """What a git command prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def earlier() -> str:
    """The last commit whose renderer differs from the one in the working tree."""
    for commit in git("log", "--format=%H", "--", RENDERER).decode().split():
        if git("diff", "--name-only", commit, "--", RENDERER):
            return commit
    raise SystemExit("No earlier version of the renderer is known; name one with --against.")


def unpack(revision: str, folder: str) -> None:
    """Write the package as it was at a commit."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", revision, "mmagan_lite"))) as archive:
        archive.extractall(folder, filter="data")


def measure(place: Path, options: list[str]) -> list[float]:
    """Faces a second, a CPU second, peak and added memory (MB), in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", TURN, *options], cwd=place, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return [float(number) for number in run.stdout.split()]


if __name__ == "__main__":
    main()
