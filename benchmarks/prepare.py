"""How fast data_prep works through photographs, beside the detector alone.

    python benchmarks/prepare.py --photographs 64 --rounds 3
    python benchmarks/prepare.py --folder my_photographs

Draws scenes of 640 x 640 pixels with a portrait in each, or takes the photographs of a folder,
and goes through them each way in turn, for some rounds, so that whatever else the machine does
meets all alike. The detector alone gets decoded pictures and writes nothing; data_prep opens,
finds, cuts, hashes, writes and notes. The time to start processes does not count for either.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from itertools import count
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from data_prep import Record
from data_prep.duplicates import available
from data_prep.journal import Journal
from data_prep.picture import Job
from data_prep.records import pictures
from data_prep.workers import fresh_processes, prepare_all
from mmagan_lite.detection import detect, load_image

SIDE = 640


def draw_photographs(folder: Path, number: int) -> None:
    """Scenes with one person, at random places, sizes and angles."""
    random = np.random.default_rng(0)
    person = Image.fromarray(skimage.data.astronaut())
    scenes = [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.rocket()]
    for i in range(number):
        scene = Image.fromarray(scenes[i % 3]).resize((SIDE, SIDE))
        side = int(random.integers(300, 500))
        portrait = person.resize((side, side)).rotate(random.uniform(-15, 15))
        scene.paste(portrait, (int(random.integers(SIDE - side)), SIDE - side))
        scene.save(folder / f"{i:04}.jpg", quality=90)


@cache
def decoded(photographs: tuple[Path, ...]) -> list[Image.Image]:
    """The photographs, kept in memory."""
    return [load_image(path) for path in photographs]


def seconds_to_detect(photographs: tuple[Path, ...]) -> float:
    """Of one process, decoding aside."""
    images = decoded(photographs)
    started = time.perf_counter()
    for image in images:
        detect(image)
    return time.perf_counter() - started


def detector_alone(photographs: list[Path], each: Callable, processes: int) -> float:
    """Photographs a second of the detector, each process with its share of them."""
    shares = [tuple(photographs[i::processes]) for i in range(processes)]
    return len(photographs) / max(each(seconds_to_detect, shares))


def pipeline(
    photographs: list[Path], source: Path, folder: Path, numbers: count, workers: int
) -> float:
    """Photographs a second of data_prep, from the first that is done to the last."""
    settings = "train", "by picture", source, 128, True, available()
    jobs = (
        Job(Record(path=path, expression="happiness", native_label="happy"), i, *settings)
        for i, path in enumerate(photographs)
    )
    results = prepare_all(jobs, workers)
    with Journal(folder / str(next(numbers)), {}) as journal:
        journal.add(*next(results))
        started = time.perf_counter()
        for png, entry in results:
            journal.add(png, entry)
        return (len(photographs) - 1) / (time.perf_counter() - started)


def compare(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of each way over the rounds, after one that warms up."""
    runs = [{name: way() for name, way in ways.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(run[name] for run in runs) for name in ways}


def main() -> None:
    """Draw, prepare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="take these instead")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)  # as many cores as processes
    with tempfile.TemporaryDirectory() as name, ExitStack() as pools:
        source, numbers = args.folder, count()
        if source is None:
            source = Path(name) / "source"
            source.mkdir()
            draw_photographs(source, args.photographs)
        photographs = list(pictures(source.resolve()))
        ways = {}
        for workers in (1, 2):  # one works in this process, as in data_prep
            each = pools.enter_context(fresh_processes(2)).map if workers > 1 else map
            ways[f"detector alone, {workers}"] = partial(detector_alone, photographs, each, workers)
            ways[f"data_prep, {workers}"] = partial(
                pipeline, photographs, source.resolve(), Path(name), numbers, workers
            )
        speeds = compare(ways, args.rounds)
    print(f"{len(photographs)} photographs, {args.rounds} rounds")
    for workers in (1, 2):
        alone, whole = speeds[f"detector alone, {workers}"], speeds[f"data_prep, {workers}"]
        print(f"{workers} processes: detector alone {alone:5.1f}/s, data_prep {whole:5.1f}/s, "
              f"{whole / alone:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
