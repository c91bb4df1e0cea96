"""What keeps a CUDA device busy: data that live on it, and steps that it runs without Python."""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmagan_lite.data import Faces

Step = Callable[..., dict[str, Tensor]]
"""A step of training: batches and switches in, what to record out."""


class ResidentFaces(Faces):
    """Faces copied to a device once, so that no batch has to travel.

    Parameters
    ----------
    faces : Faces
        Any set.
    device : torch.device
        Where they should live; a face of 128 pixels takes 49 kB there.
    """

    def __init__(self, faces: Faces, device: torch.device) -> None:
        self.size = faces.size
        self._pixels = torch.empty(
            len(faces), 3, faces.size, faces.size, dtype=torch.uint8, device=device
        )
        for start in range(0, len(faces), 4096):
            part = range(start, min(start + 4096, len(faces)))
            self._pixels[start : part.stop] = faces.pixels(part).to(device)
        self.expression, self.rho, self.identity = (
            labels.to(device) for labels in (faces.expression, faces.rho, faces.identity)
        )

    @staticmethod
    def fit(faces: Faces, device: torch.device) -> bool:
        """Whether they take a third of the device's free memory at most."""
        free, _ = torch.cuda.mem_get_info(device)
        return len(faces) * 3 * faces.size**2 <= free / 3

    def batch(self, indices: Sequence[int] | Tensor, device: Any = None) -> dict[str, Tensor]:
        """Several items at once, where they live; see `Faces.batch`."""
        indices = torch.as_tensor(indices).to(self._pixels.device)
        return {
            "image": self._pixels[indices].float().div_(127.5).sub_(1),
            "expression": self.expression[indices],
            "rho": self.rho[indices],
            "identity": self.identity[indices],
        }


class Recorded:
    """A step of training as a CUDA graph: recorded once, then replayed as a whole.

    A step is made of some thousand small kernels, and a fast device computes them in less time
    than Python takes to launch them. A graph launches all of them at once. It repeats exactly
    what was recorded, on the same memory: so batches are copied to where the recorded ones lay,
    and each choice that Python makes on the way (such as whether this step has a penalty) needs
    a graph of its own.

    Parameters
    ----------
    step : callable
        From a list of batches, each a tuple of Tensors, and further hashable arguments to a
        dictionary of Tensors. It must not look at values on the device (``item``, ``if tensor``).
    random : torch.Generator
        What the step draws random numbers from; seeding it before a replay has the usual effect.
    """

    PRACTICE = 3
    """Steps that run as usual before one is recorded: libraries choose their kernels there."""

    def __init__(self, step: Step, random: torch.Generator) -> None:
        self.step, self.random = step, random
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.seen: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, tuple] = {}
        self.works = True

    def __call__(self, batches: list[tuple[Tensor, ...]], *switches: Hashable) -> dict[str, Tensor]:
        """Run the step; the results are overwritten by the next one."""
        self.seen[switches] += 1
        if self.works and self.seen[switches] > self.PRACTICE and switches not in self.graphs:
            try:
                self._record(batches, switches)
            except RuntimeError as error:
                self.works = False
                warnings.warn(f"No CUDA graphs, steps take longer: {error}", stacklevel=2)
        if switches not in self.graphs:
            return self._run(batches, switches)
        graph, places, results = self.graphs[switches]
        for place, batch in zip(places, batches, strict=True):
            for there, here in zip(place, batch, strict=True):
                there.copy_(here)
        graph.replay()
        return results

    def _run(self, batches: list[tuple[Tensor, ...]], switches: tuple) -> dict[str, Tensor]:
        # On the stream of the recording, so that nothing in the graph waits for another one.
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            results = self.step(batches, *switches)
        torch.cuda.current_stream().wait_stream(self.stream)
        return results

    def _record(self, batches: list[tuple[Tensor, ...]], switches: tuple) -> None:
        places = [tuple(part.clone() for part in batch) for batch in batches]
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.random)
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            results = self.step(places, *switches)
        self.graphs[switches] = graph, places, results
