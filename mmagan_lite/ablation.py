"""The rows of Table 1 and Figure 4: trained on the same faces, as long, and by the same means."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmagan_lite.config import Config
from mmagan_lite.data import Faces, progress
from mmagan_lite.training import Trainer

ROWS = {
    "mmagan": {},
    "no-attention": dict(mmarm=False),
    "no-residual": dict(global_residual=False),
    "neither": dict(mmarm=False, global_residual=False),
    "stargan": dict(model="stargan"),
    "cyclegan": dict(model="cyclegan"),
    "paper-losses": dict(losses="paper"),
}
"""What each row changes in the configuration that they share: MMA-GAN, its three ablations, the
two baselines, and MMA-GAN with the paper's losses alone."""


def train_rows(
    config: Config,
    data: Faces,
    folder: str | os.PathLike,
    rows: Sequence[str] = tuple(ROWS),
    seeds: Sequence[int] = (0,),
    minutes: float | None = None,
) -> list[Path]:
    """Train every row for the same number of generator steps, or go on where it was stopped.

    Parameters
    ----------
    config : Config
        What the rows share.
    data : Faces
    folder : path
        Each row gets a folder ``ROW-SEED`` in it, a run as `Trainer` writes it.
    rows : sequence of str
        Names in `ROWS`.
    seeds : sequence of int
        Of weights, batches and targets: one run each.
    minutes : float, optional
        Wall time for each run and call.

    Returns
    -------
    list of Path
        The folders of the runs that are complete.

    Raises
    ------
    ValueError
        If a row is unknown or a run in the folder is of another configuration.
    """
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise ValueError(f"Unknown row {unknown[0]!r}; expected some of {', '.join(ROWS)}.")
    complete = []
    runs = [(seed, row) for seed in seeds for row in rows]
    for seed, row in progress(runs, desc="rows", unit="run"):
        wanted = config.replace(seed=seed).replace(**ROWS[row])
        run = Path(folder) / f"{row}-{seed}"
        if (run / "checkpoint.pt").exists():
            trainer = Trainer.resume(run, data, wanted)
        else:
            trainer = Trainer(wanted, data, run)
        if trainer.fit(minutes=minutes).step == wanted.steps:
            complete.append(run)
    return complete
