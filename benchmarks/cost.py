"""Time and memory of a training step against image size, width, blocks and batch.

    python benchmarks/cost.py [--profile laptop] [--out docs/cost.png]

One size is varied at a time, the others are the profile's. Each point is a process of its own,
so that its peak memory is its own, and its time is the fastest of some steps: the least that
other programs disturbed.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt

import mmagan_lite as mg
from mmagan_lite.config import PROFILES

VARIED = {
    "image_size": (32, 64, 128),
    "width": (8, 16, 32, 64),
    "blocks": (1, 2, 4, 8),
    "batch_size": (2, 4, 8, 16, 32),
}
LABELS = {
    "image_size": "side of the image [pixels]",
    "width": "width",
    "blocks": "blocks",
    "batch_size": "faces a batch",
}

POINT = """
import json, resource, sys, time, torch
from throughput import Noise
import mmagan_lite as mg
config = mg.Config.from_dict(json.loads(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
trainer = mg.Trainer(config, Noise(64, config.image_size))
on_gpu = trainer.device.type == "cuda"
times = []
while len(times) < 10 or (sum(times) < 4 and len(times) < 40):
    start = time.perf_counter()
    trainer.train_step()  # its row is read from the device, so it is complete
    times.append(time.perf_counter() - start)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kB
if on_gpu:
    peak = torch.cuda.max_memory_allocated() / 1e3
print(json.dumps([min(times), peak / 1e6, "GPU" if on_gpu else "CPU"]))
"""


def measure(config: mg.Config) -> tuple[float, float, str]:
    """Seconds a step, gigabytes at most beyond what PyTorch takes, and the device."""
    command = [sys.executable, "-c", POINT, json.dumps(config.to_dict())]
    here = Path(__file__).parent
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=here)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all points, print them and draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="laptop", help="[%(default)s]")
    parser.add_argument("--out", type=Path, default=Path("docs/cost.png"), help="[%(default)s]")
    args = parser.parse_args()
    base = mg.Config.profile(args.profile)
    figure, axes = plt.subplots(
        1, len(VARIED), figsize=(12, 3.2), sharey=True, layout="constrained"
    )
    for axis, (key, values) in zip(axes, VARIED.items(), strict=True):
        found = []
        for value in values:
            found.append(measure(base.replace(**{key: value})))
            seconds, memory, device = found[-1]
            print(f"{key} {value}: {1e3 * seconds:.0f} ms, {memory:.2f} GB", flush=True)
        times, memories, _ = zip(*found, strict=True)
        axis.loglog(values, times, "o-", base=2, label="seconds a step")
        axis.loglog(values, memories, "s--", base=2, label="gigabytes at most")
        axis.set_xlabel(LABELS[key])
        axis.set_xticks(values, map(str, values))
        axis.grid(alpha=0.3)
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].legend()
    figure.suptitle(
        f"A training step on the {device}: {base.image_size} px, width {base.width}, "
        f"{base.blocks} blocks, {base.batch_size} faces, one of them varied"
    )
    figure.savefig(args.out, dpi=110)
    print(f"Wrote {args.out}.")


if __name__ == "__main__":
    main()
