"""Pictures prepared by several processes, results in order, few of them in memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from data_prep.picture import Job, prepare_one

MOST = 32
"""Workers at most, unless more are asked for: each takes a few hundred megabytes."""


def cores() -> int:
    """Cores that this process may use, at most `MOST`."""
    if hasattr(os, "sched_getaffinity"):
        return min(MOST, len(os.sched_getaffinity(0)))
    return min(MOST, os.cpu_count() or 1)


def prepare_all(jobs: Iterator[Job], workers: int) -> Iterator[tuple[bytes | None, dict]]:
    """Results of `prepare_one` in the order of the jobs.

    Parameters
    ----------
    jobs : iterator of Job
    workers : int
        Processes; 1 works in this one, with torch's own threads.

    Yields
    ------
    tuple of (bytes or None, dict)

    Raises
    ------
    ChildProcessError
        If a worker was ended from outside.
    """
    if workers == 1:
        yield from map(prepare_one, jobs)
        return
    try:
        with fresh_processes(workers) as pool:
            yield from _in_order(pool, jobs, 4 * workers)
    except BrokenProcessPool:
        raise ChildProcessError(
            "A worker was ended from outside, most often because memory ran out; run the same "
            f"command again with fewer workers than {workers} to go on."
        ) from None


def _in_order(pool: ProcessPoolExecutor, jobs: Iterator[Job], ahead: int) -> Iterator[tuple]:
    waiting: deque = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(prepare_one, job))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # whoever stops asking need not wait for the rest
        for future in waiting:
            future.cancel()


def fresh_processes(workers: int) -> ProcessPoolExecutor:
    """Processes that have imported what they need; one thread each."""
    # Forking this process may hang, as torch's threads run in it: fork a fresh one that has
    # imported everything, or start from nothing where there is no fork.
    fresh = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(fresh)
    context.set_forkserver_preload(["data_prep.workers", "facenet_pytorch", "imagehash"])
    pool = ProcessPoolExecutor(workers, context, initializer=_start)
    if fresh == "forkserver":
        _start_forkserver(pool)
    return pool


def _start_forkserver(pool: ProcessPoolExecutor) -> None:
    """Start the process that forks the others, deaf to Ctrl-C, and see it fork the first one.

    Ctrl-C waits so long: a worker that starts when its parent has gone complains of that.
    """
    from multiprocessing import resource_tracker  # not for Windows

    resource_tracker.ensure_running()  # it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _interrupts_held():  # other threads of this process still receive them
            pool.submit(int).result()  # what starts now inherits what is blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C take effect at the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C reaches the main thread only
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *_: held.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)


def _start() -> None:
    torch.set_num_threads(1)  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent does: one that is killed cannot tell its workers to."""
    multiprocessing.parent_process().join()
    os._exit(1)
