"""How much memory a training needs: counted on a CPU, without a GPU, and measured on one."""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.cuda import Recorded
from mmagan_lite.data import Faces
from mmagan_lite.expressions import N
from mmagan_lite.training import Trainer

COUNTED = (2, 4)  # faces a step; from there on, memory grows in a line


def estimate(config: Config) -> dict[str, int]:
    """The memory that a training needs, in bytes, by what it is for.

    A few steps are really made, on the CPU and with batches of two and of four faces, and the
    tensors that are alive at the worst moment are counted. A straight line through both counts
    leads to the configuration's batch. Not counted is what libraries take for themselves: CUDA
    some hundred megabytes, cuDNN's search for the fastest kernels whatever is free, for a moment.

    PyTorch's own record of its allocator on a CPU agrees within a tenth, and the process takes up
    to half as much again. On an H200, compiled, in bfloat16 and with batches of 32, the profile
    colab took 1.95 GB where 1.57 are counted (with the 256 faces that were there).

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict
        ``weights`` of generator and critic, their ``gradients``, ``Adam``'s two running means,
        the moving ``average`` of the generator, ``activations`` (everything else in a step,
        which is mostly what the backward pass has to remember), and all ``faces``, which live on
        the device on CUDA and on the disk elsewhere. The sum is what CUDA needs.

    Examples
    --------
    >>> sum(estimate(Config.profile("colab")).values()) / 1e9 < 12
    True
    """
    parts = _lasting(config)
    peaks = [_peaks(config, batch) for batch in COUNTED]
    training, warmup = zip(*peaks, strict=True)
    most = max(_line(config.batch_size, *training), _line(config.warmup_batch_size, *warmup))
    return {**parts, "activations": max(0, most - sum(parts.values())), "faces": _faces(config)}


def measure(config: Config) -> dict[str, int]:
    """The memory that a training takes on the CUDA device that is here.

    A step of the warm-up and enough steps of training to have all of them recorded as graphs.

    Parameters
    ----------
    config : Config

    Returns
    -------
    dict
        In bytes: ``allocated``, the tensors at the worst moment, and ``reserved``, what PyTorch
        had asked the device for by then, cuDNN's search for kernels included.

    Raises
    ------
    ValueError
        If there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ValueError("There is no CUDA device to measure on; estimate(config) needs none.")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    trainer = Trainer(config, Noise(config.faces, config.image_size), device="cuda")
    if trainer.warmup_steps:
        trainer.warm_up()
    for _ in range((Recorded.PRACTICE + 1) * config.r1_every + 1):
        trainer.train_step()
    torch.cuda.synchronize()
    return {
        "allocated": torch.cuda.max_memory_allocated() - before,
        "reserved": torch.cuda.max_memory_reserved(),
    }


def _lasting(config: Config) -> dict[str, int]:
    """What stays from step to step, computed from the networks' sizes."""
    with torch.device("meta"):
        generator, critic = networks(config)
    sizes = [tensor.nbytes for part in (generator, critic) for tensor in part.state_dict().values()]
    learned = [p.nbytes for part in (generator, critic) for p in part.parameters()]
    pairs = 7 if config.model == "cyclegan" else 1  # of domains, of which one has gradients
    return {
        "weights": sum(sizes),
        "gradients": sum(learned) // pairs,
        "Adam": 2 * sum(learned),
        "average": sum(tensor.nbytes for tensor in generator.state_dict().values()),
    }


def _faces(config: Config) -> int:
    return config.faces * 3 * config.image_size**2  # one byte a colour


def _peaks(config: Config, batch: int) -> tuple[int, int]:
    """The most bytes alive in training and in the warm-up, with so many faces a step."""
    precision = "float32" if config.precision == "float32" else "bfloat16"  # float16 is as large
    small = config.replace(batch_size=batch, warmup_batch_size=batch, precision=precision)
    with Counter() as counter:
        trainer = Trainer(small, Noise(64, small.image_size), device="cpu")
        # Adam's means come with the first step; CycleGAN's are complete after all of its pairs.
        for step in range(7) if config.model == "cyclegan" else (0, config.r1_every):
            trainer.step = step
            trainer.train_step()
        training, counter.most = counter.most, counter.now
        if trainer.warmup_steps:
            trainer.warm_up()
        return training, counter.most


def _line(batch: int, first: int, second: int) -> int:
    """From the counts with two batches to what another one needs."""
    slope = (second - first) / (COUNTED[1] - COUNTED[0])
    return round(first + slope * (batch - COUNTED[0]))


class Noise(Faces):
    """Faces of noise, since what they show takes no memory."""

    def __init__(self, count: int, size: int) -> None:
        self.size, self.random = size, torch.Generator().manual_seed(0)
        self.expression = self.identity = torch.arange(count) % N
        self.rho = torch.where(self.expression == 0, 0.0, 0.5)

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Images as stored."""
        shape = (len(indices), 3, self.size, self.size)
        return torch.randint(256, shape, dtype=torch.uint8, generator=self.random)


class Counter(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make, as long as these live.

    Attributes
    ----------
    now, most : int
        Bytes alive, and the most that have been so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run an operator and count what it returns."""
        result = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, memory: torch.UntypedStorage) -> None:
        place, size = memory.data_ptr(), memory.nbytes()
        if size and place not in self.alive:  # else it is a view, or was changed in place
            self.alive.add(place)
            weakref.finalize(memory, self._remove, place, size)
            self.now += size
            self.most = max(self.most, self.now)

    def _remove(self, place: int, size: int) -> None:
        self.alive.discard(place)
        self.now -= size
