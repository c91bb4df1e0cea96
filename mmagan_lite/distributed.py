"""Several processes train one model together, each on its own part of every batch.

``torchrun --nproc-per-node=N -m mmagan_lite train ...`` starts N processes: one for each GPU, or
on a CPU one for some of its cores. All of them hold the same weights and take the same steps.
Each draws the random numbers of the whole batch and keeps those of its own part, and what is a
mean over the batch (a gradient, a line of the history) is averaged over the processes. So N
processes do what one would do with the same batch, up to rounding.

In a single process, every function here returns what it was given.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: for a checkpoint to be written, networks to be
compiled. If one dies, the others notice at once."""

GONE = (
    "Another process of this job has ended, or the job was stopped from outside; continue from the "
    "last checkpoint with --resume, with as many processes as you like."
)


def processes() -> int:
    """How many processes train together; 1 unless torchrun has started more."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0. Only the first writes files and prints."""
    return dist.get_rank() if processes() > 1 else 0


@contextmanager
def started() -> Iterator[bool]:
    """Join the other processes that torchrun has started; alone, do nothing.

    An error ends all of them, but only the process that meets it first says so: one sentence on
    stderr, and exit status 2.

    Yields
    ------
    bool
        Whether this is the first process, the one that writes.

    Raises
    ------
    SystemExit
        In place of the errors that `mmagan_lite` explains in a sentence.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    store, number, size = next(dist.rendezvous("env://", timeout=PATIENCE))
    gpu = torch.cuda.is_available()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=store, rank=number, world_size=size, timeout=PATIENCE,
    )  # fmt: skip
    say = _speaker(store)
    with _last_words(say):
        try:
            if gpu:
                _choose_gpu()
            yield number == 0
        except (ValueError, OSError, FloatingPointError, MemoryError) as error:
            say(error)
            raise SystemExit(2) from error
        dist.destroy_process_group()


def check_divisible(batches: dict[str, int]) -> None:
    """Refuse batches that the processes cannot share evenly.

    Parameters
    ----------
    batches : dict
        How many images they hold, by the name of the setting.

    Raises
    ------
    ValueError
        If one is not divisible by the number of processes.
    """
    for name, images in batches.items():
        if images % processes():
            raise ValueError(
                f"{name} must be divisible by the number of processes, {processes()}, which share "
                f"the batch; got {images}."
            )


def mine(batch: Tensor, dim: int = 0) -> Tensor:
    """The part of this process, of something with one row for each item of the whole batch.

    The rows are dealt like cards. So where two batches were concatenated, each process gets its
    part of either.

    Parameters
    ----------
    batch : Tensor of shape (..., B, ...)
    dim : int
        The dimension of length B.

    Returns
    -------
    Tensor of shape (..., B / processes, ...)
        A view: rows `rank`, `rank` + `processes`, and so on.
    """
    return batch.unflatten(dim, (-1, processes())).select(dim + 1, rank())


def gather(part: Tensor) -> Tensor:
    """The rows of all processes: the inverse of `mine`. No gradient flows through it.

    Parameters
    ----------
    part : Tensor of shape (B / processes, ...)

    Returns
    -------
    Tensor of shape (B, ...)
    """
    batch = part.new_zeros(len(part) * processes(), *part.shape[1:])
    mine(batch).copy_(part.detach())
    return total(batch)


def total(x: Tensor) -> Tensor:
    """The sum over all processes; no gradient flows through it.

    Parameters
    ----------
    x : Tensor
        Of the same shape in every process.

    Returns
    -------
    Tensor

    Raises
    ------
    ConnectionError
        If another process is gone.
    """
    if processes() == 1:
        return x
    x = x.detach().clone()
    try:
        dist.all_reduce(x)
    except RuntimeError as error:
        if x.is_cuda:  # perhaps a step that cannot be recorded (`cuda.Recorded`)
            raise
        raise ConnectionError(GONE) from error
    return x


def mean(x: Tensor) -> Tensor:
    """The mean over all processes; see `total`."""
    return total(x) / processes()


def count(chosen: Tensor) -> Tensor:
    """By what to divide a sum over some images of the batch to get their mean.

    Of one process it is their number. Several may have different numbers of them. If each divided
    by its own, the mean over processes would not be the mean over images, so each divides by the
    same: the number in the whole batch, shared out evenly.

    Parameters
    ----------
    chosen : Tensor of shape (B,)
        Which images of this process's part of the batch they are, bool.

    Returns
    -------
    Tensor
        Scalar, above 0 even if there are none.
    """
    return total(chosen.sum()).clamp(min=1) / processes()


def anyone(flag: object) -> bool:
    """Whether `flag` is true in any process. All of them must ask, and all get one answer."""
    return bool(total(torch.tensor(int(bool(flag)))))


def average_gradients(optimiser: torch.optim.Optimizer) -> None:
    """Make each gradient the mean over all processes, just before a step.

    By then it holds whatever the loss was made of. `DistributedDataParallel` averages while it
    goes backward once through what one forward pass has computed, and a penalty on a gradient
    does not go that way.

    Parameters
    ----------
    optimiser : torch.optim.Optimizer
        Whose parameters it is about.
    """
    if processes() == 1:
        return
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    # All in one message: many small ones would spend their time on the way.
    message = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = message.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _choose_gpu() -> None:
    """Give this process a GPU of its own."""
    number, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= gpus:
        raise ValueError(
            f"Every process needs a GPU of its own, but there are {gpus}; start as many processes, "
            f"or set CUDA_VISIBLE_DEVICES to nothing and train on the CPU."
        )
    torch.cuda.set_device(number)


def _speaker(store: "dist.Store") -> Callable[[object], None]:
    """A function that prints a sentence, unless a process of this job has already said one."""
    lock = threading.Lock()  # nobody ends this process between its turn and its sentence

    def say(sentence: object) -> None:
        with lock:
            first = True
            with suppress(RuntimeError):  # torchrun itself is gone
                first = store.add("said", 1) == 1
            if first:
                print(f"error: {sentence}", file=sys.stderr, flush=True)

    return say


@contextmanager
def _last_words(say: Callable[[object], None]) -> Iterator[None]:
    """Say why before SIGTERM ends this process: torchrun sends it when another one has died.

    Python's own handlers have to wait while a call of PyTorch waits for the GPU. But the number
    of the signal is written to a pipe at once, and a thread can read it there.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM:
                say(GONE)
                os._exit(2)
        os.close(reader)

    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, handler)
        os.close(writer)  # which ends the thread
