"""Images a second that MMA-GAN trains on, beside StarGAN's own code, in turns in one run.

    python benchmarks/throughput.py [--reference PATH] [--profile colab] [--batch-size 16] ...

PATH is a clone of the public StarGAN repository (yunjey/stargan on GitHub); its `Solver` trains
at the same resolution, widths, number of blocks, batch and critic steps. Turns make the ratio
hold on a machine whose speed drifts. An image is a real face in a batch of a critic step.
"""

import argparse
import contextlib
import io
import math
import statistics
import sys
import time
import warnings
from argparse import Namespace

import torch
from torch.utils.flop_counter import FlopCounterMode

import mmagan_lite as mg
from mmagan_lite.config import CHOICES, PROFILES
from mmagan_lite.data import Faces


class Noise(Faces):
    """Faces of noise: speed does not depend on what they show."""

    def __init__(self, count: int, size: int) -> None:
        self.size = size
        self.images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
        self.expression = self.identity = torch.arange(count) % 8
        self.rho = torch.where(self.expression == 0, 0.0, 0.5)

    def pixels(self, indices: list[int]) -> torch.Tensor:
        """Images as stored."""
        return self.images[indices]


class Untracked(contextlib.nullcontext):
    """Counts no module on its own: the hooks for that refuse a penalty's inner gradient."""

    parents = frozenset({"Global"})


class Ours:
    """Our trainer without a folder, and what it computes."""

    def __init__(self, config: mg.Config, compiled: bool) -> None:
        self.config = config
        self.trainer = mg.Trainer(config, Noise(256, config.image_size), compile=compiled)

    def cycles(self, count: int) -> None:
        """Generator steps with their critic steps."""
        for _ in range(count):
            self.trainer.train_step()

    def operations(self) -> float:
        """Floating-point operations of a cycle, an addition and a multiplication being two."""
        trainer, config = self.trainer, self.config
        counts = []
        for penalise in (True, False):
            batches = [trainer._real(n, config.batch_size) for n in range(config.critic_steps)]
            counter = FlopCounterMode(display=False)
            counter.mod_tracker = Untracked()
            with counter:
                trainer._play(batches, (penalise,) * config.critic_steps)
            counts.append(counter.get_total_flops())
        share = 1 / config.r1_every if config.lambda_r1 else 1
        return share * counts[0] + (1 - share) * counts[1]


class Reference:
    """StarGAN's Solver on the same noise; its loader's clock tells the time of an iteration."""

    def __init__(self, path: str, config: mg.Config) -> None:
        sys.path.insert(0, path)
        from solver import Solver

        depth = int(math.log2(config.image_size)) - 1
        settings = Namespace(
            c_dim=8, c2_dim=8, image_size=config.image_size, g_conv_dim=config.width,
            d_conv_dim=config.critic_width, g_repeat_num=config.blocks, d_repeat_num=depth,
            lambda_cls=1, lambda_rec=10, lambda_gp=10, dataset="RaFD",
            batch_size=config.batch_size, num_iters=0, num_iters_decay=0, g_lr=1e-4, d_lr=1e-4,
            n_critic=config.critic_steps, beta1=0.5, beta2=0.999, resume_iters=None,
            selected_attrs=[], test_iters=0, use_tensorboard=False, log_dir="", sample_dir="",
            model_save_dir="", result_dir="", log_step=10**9, sample_step=10**9,
            model_save_step=10**9, lr_update_step=10**9,
        )  # fmt: skip
        faces = Noise(config.batch_size, config.image_size).batch(range(config.batch_size))
        batch = faces["image"], faces["expression"]
        self.critic_steps = config.critic_steps
        with contextlib.redirect_stdout(io.StringIO()):
            self.solver = Solver(None, [batch], settings)

    def cycles(self, count: int) -> None:
        """Generator steps with their critic steps."""
        self.solver.num_iters = count * self.critic_steps
        with contextlib.redirect_stdout(io.StringIO()):
            self.solver.train()


def seconds(side: Ours | Reference, least: float) -> float:
    """Seconds of a cycle, measured over `least` seconds or more."""
    count, taken = 1, 0.0
    while taken < least:
        count = max(count + 1, math.ceil(1.1 * count * least / taken)) if taken else count
        _finish()
        start = time.perf_counter()
        side.cycles(count)
        _finish()
        taken = time.perf_counter() - start
    return taken / count


def peak(precision: str) -> float:
    """Operations a second of a large matrix product: what the device can do at most."""
    on_cuda = torch.cuda.is_available()
    side = 8192 if on_cuda else 2048
    dtype = getattr(torch, precision)
    a, b = torch.randn(2, side, side, device="cuda" if on_cuda else "cpu").to(dtype)
    best = math.inf
    for _ in range(8):
        _finish()
        start = time.perf_counter()
        a @ b
        _finish()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Measure, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", metavar="PATH", help="a clone of yunjey/stargan")
    parser.add_argument("--profile", choices=PROFILES, help="sizes to begin with")
    for name in ("image-size", "width", "blocks", "critic-width", "batch-size", "critic-steps"):
        parser.add_argument(f"--{name}", type=int, default=argparse.SUPPRESS)
    for name in ("losses", "precision", "model"):
        parser.add_argument(f"--{name}", choices=CHOICES[name], default=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help="compile our networks")
    parser.add_argument("--turns", type=int, default=5, help="for each side [%(default)s]")
    parser.add_argument("--seconds", type=float, default=2, help="a turn, at least [%(default)s]")
    args = vars(parser.parse_args())
    reference, compiled, turns, least = (
        args.pop(key) for key in ("reference", "compile", "turns", "seconds")
    )
    warnings.simplefilter("ignore")
    config = mg.Config.profile(args.pop("profile"), **args)
    sides = {"MMA-GAN": Ours(config, compiled)}
    if reference:
        sides["StarGAN"] = Reference(reference, config)
    for side in sides.values():
        side.cycles(24)  # kernels are chosen and steps recorded in the first ones
    found = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            found[name].append(seconds(side, least))

    images = config.batch_size * config.critic_steps
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, {config.image_size} px, width {config.width}, {config.blocks} blocks, "
          f"critic {config.critic_width}, batch {config.batch_size}, {config.critic_steps} critic "
          f"steps, {config.precision}{', compiled' if compiled else ''}; "
          f"medians of {turns}")  # fmt: skip
    for name, times in found.items():
        print(f"{name:8} {images / statistics.median(times):8.1f} images/s, "
              f"{1e3 * statistics.median(times):.2f} ms a cycle")  # fmt: skip
    operations, most = sides["MMA-GAN"].operations(), peak(config.precision)
    rate = operations / statistics.median(found["MMA-GAN"])
    print(f"MMA-GAN computes {operations / images / 1e9:.1f} GFLOP an image: {rate / 1e12:.2f} of "
          f"{most / 1e12:.2f} TFLOP/s, {rate / most:.1%} of the measured peak")  # fmt: skip
    if reference:
        pairs = zip(found["StarGAN"], found["MMA-GAN"], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        print(f"ratio    {statistics.median(ratios):.2f} (pairs from {min(ratios):.2f} to "
              f"{max(ratios):.2f})")  # fmt: skip
    if torch.cuda.is_available():
        print(f"most memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
