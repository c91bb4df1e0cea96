"""How fast prepared faces reach a network, beside torchvision's ImageFolder.

    python benchmarks/loader.py --faces 1000 --size 128

Draws some faces, writes them as data_prep would, and links them into one folder an expression,
as ImageFolder wants them. Then it reads all of them, shuffled and in batches, as floats in
[-1, 1]: each way in turn, for some rounds, so that whatever else the machine does meets all alike.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mmagan_lite import EXPRESSIONS, PreparedFaces, ProceduralFaces
from mmagan_lite.data import batch_indices

COLUMNS = ("file_name", "expression", "intensity", "subject", "source", "native_label")


def write_prepared(drawn: ProceduralFaces, folder: Path) -> None:
    """Write drawn faces as a prepared set, with links to them under ``by_expression/``."""
    (folder / "train").mkdir()
    with open(folder / "train" / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i, label in enumerate(drawn.expression.tolist()):
            picture = folder / "train" / f"{i:06d}.png"
            pixels = drawn.pixels([i])[0].permute(1, 2, 0).numpy()  # (H, W, 3)
            Image.fromarray(pixels).save(picture)
            intensity, person = f"{drawn.rho[i]:.4f}", drawn.identity[i].item()
            table.writerow([picture.name, EXPRESSIONS[label], intensity, person, "drawn", label])
            link = folder / "by_expression" / EXPRESSIONS[label] / picture.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(picture)


def image_folder(folder: Path) -> ImageFolder:
    """The plain way: a picture is opened and decoded whenever it is asked for."""
    to_float = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
    return ImageFolder(folder / "by_expression", v2.Compose(to_float))


def images_of_loader(data: Dataset, batch_size: int, workers: int) -> Callable[[], Iterator]:
    """An ordinary DataLoader, whose processes stay between epochs."""
    loader = DataLoader(data, batch_size, True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (batch["image"] if isinstance(batch, dict) else batch[0] for batch in loader)


def images_of_batch(faces: PreparedFaces, batch_size: int) -> Iterator[torch.Tensor]:
    """What the trainer does."""
    for number in range(len(faces) // batch_size):
        yield faces.batch(batch_indices(len(faces), batch_size, number))["image"]


def faces_a_second(images: Iterable[torch.Tensor]) -> float:
    """Speed of one epoch."""
    started = time.perf_counter()
    count = sum(len(image) for image in images)
    return count / (time.perf_counter() - started)


def compare(folder: Path, size: int, batch_size: int, rounds: int) -> dict[str, float]:
    """Way of reading -> median speed over the rounds, in faces a second."""
    started = time.perf_counter()
    faces, plain = PreparedFaces(folder, size=size, cache=folder), image_folder(folder)
    print(f"making the cache, once: {len(faces) / (time.perf_counter() - started):,.0f} faces/s")
    ways = {
        "ImageFolder in a DataLoader": images_of_loader(plain, batch_size, 0),
        "the same with 2 workers": images_of_loader(plain, batch_size, 2),
        "PreparedFaces in a DataLoader": images_of_loader(faces, batch_size, 0),
        "PreparedFaces.batch": partial(images_of_batch, faces, batch_size),
    }
    for images in ways.values():  # starts the workers, fills the operating system's cache
        faces_a_second(images())
    runs = [{way: faces_a_second(images()) for way, images in ways.items()} for _ in range(rounds)]
    return {way: statistics.median(run[way] for run in runs) for way in ways}


def main() -> None:
    """Draw, write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=1_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_prepared(ProceduralFaces("train", args.faces, args.size), Path(name))
        speeds = compare(Path(name), args.size, args.batch_size, args.rounds)
    fastest_plain = max(list(speeds.values())[:2])
    for way, speed in speeds.items():
        print(f"{way:30s} {speed:10,.0f} faces/s {speed / fastest_plain:8.1f}")


if __name__ == "__main__":
    main()
