"""The rows of Table 1 and Figure 4: trained on the same faces, as long, and by the same means."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from mmagan_lite import checkpoints, evaluation
from mmagan_lite.config import Config
from mmagan_lite.data import Faces, ProceduralFaces, progress, write_atomically
from mmagan_lite.editing import load_model
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

LABELS = {
    "mmagan": "MMA-GAN",
    "no-attention": "without attention",
    "no-residual": "without residual",
    "neither": "without both",
    "stargan": "StarGAN",
    "cyclegan": "CycleGAN",
    "paper-losses": "paper's losses",
}
"""What the rows are called in tables."""

RESULTS = Path(__file__).parent / "results"
"""The results that come with the package, of the weights that do."""

TABLES = {
    "table": ["row", "seed"],
    "expressions": ["row", "seed", "expression"],
    "regions": ["row", "seed", "expression", "region"],
    "sweep": ["row", "seed", "rho"],
}
"""The tables of a results folder, each a CSV file, and the columns that are their index."""


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
    runs = {
        Path(folder) / f"{row}-{seed}": config.replace(seed=seed).replace(**ROWS[row])
        for seed in seeds
        for row in rows
    }
    begun = {run for run in runs if (run / "checkpoint.pt").exists()}
    for run in begun:  # what does not fit is refused now, not after hours of training
        checkpoints.load(run / "checkpoint.pt", runs[run])
    complete = []
    for run, wanted in progress(list(runs.items()), desc="rows", unit="run"):
        trainer = Trainer.resume(run, data, wanted) if run in begun else Trainer(wanted, data, run)
        if trainer.fit(minutes=minutes).step == wanted.steps:
            complete.append(run)
    return complete


def measure_rows(
    runs: str | os.PathLike,
    folder: str | os.PathLike,
    faces: int = 512,
    rows: Sequence[str] = tuple(ROWS),
    seeds: Sequence[int] = (0,),
) -> None:
    """Measure trained rows and write a results folder: `TABLES` and ``about.json``.

    Parameters
    ----------
    runs : path
        What `train_rows` was given.
    folder : path
        Where the results go; those of another time are replaced.
    faces : int
        Number of test faces.
    rows, seeds
        As for `train_rows`; runs that do not exist are left out.

    Raises
    ------
    ValueError
        If there is no such run.
    """
    found = [(r, s) for r in rows for s in seeds if (Path(runs) / f"{r}-{s}").is_dir()]
    if not found:
        raise ValueError(f"There is no run of {', '.join(rows)} in {runs}; train them first.")
    saved = [checkpoints.load(Path(runs) / f"{r}-{s}" / "checkpoint.pt") for r, s in found]
    config = Config.from_dict(saved[0]["config"])
    data = ProceduralFaces("test", faces, config.image_size)
    models = {f"{r} {s}": load_model(Path(runs) / f"{r}-{s}") for r, s in found}
    table, expressions = evaluation.evaluate_by(models, data, [None, "expression"])
    regions = evaluation.by_region(models, data)
    sweeps = []
    for name, model in models.items():
        sweep = evaluation.rho_sweep(model, data).reset_index()
        exact = {"rho_read_truth": "rho_read", "change_truth": "change"}
        if not sweeps:
            truth = sweep[["rho", *exact, "n"]].rename(columns=exact)
            sweeps.append(truth.assign(model=evaluation.TRUTH))
        sweeps.append(sweep.drop(columns=[*exact]).assign(model=name))
    sweep = pd.concat(sweeps).set_index("model")
    tables = {"table": table, "expressions": expressions, "regions": regions, "sweep": sweep}
    about = {
        "config": {k: v for k, v in config.to_dict().items() if k != "seed"},
        "runs": [
            {
                "row": r,
                "seed": s,
                "steps": c["progress"]["step"],
                "seconds": c["progress"]["seconds"],
            }
            for (r, s), c in zip(found, saved, strict=True)
        ],
        "test": {"split": data.split, "faces": len(data), "size": data.size, "seed": 0},
        "device": "CUDA" if torch.cuda.is_available() else _cores(torch.get_num_threads()),
        "commit": _commit(),
    }
    for name, whole in tables.items():
        whole = whole.reset_index()
        runs_of = whole["model"].map({f"{r} {s}": (r, s) for r, s in found})
        whole["row"] = runs_of.str[0].fillna(whole["model"])
        whole["seed"] = runs_of.str[1].astype("Int64")
        whole = whole.drop(columns="model").set_index(TABLES[name])
        with write_atomically(Path(folder) / f"{name}.csv") as file:
            file.write(whole.round(5).to_csv(lineterminator="\n").encode())
    with write_atomically(Path(folder) / "about.json") as file:
        file.write(json.dumps(about, indent=1).encode())


def load_results(folder: str | os.PathLike = RESULTS) -> dict[str, Any]:
    """Read a results folder.

    Parameters
    ----------
    folder : path, optional
        Default: the results that come with the package.

    Returns
    -------
    dict
        The `TABLES` as DataFrames, and "about": how the rows were trained and measured.

    Raises
    ------
    FileNotFoundError
        If the folder holds no results.
    ValueError
        If they are damaged.
    """
    folder = Path(folder)
    if not (folder / "about.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no results; make them with: python -m mmagan_lite ablate --out ..."
        )
    try:
        tables = {n: pd.read_csv(folder / f"{n}.csv", index_col=i) for n, i in TABLES.items()}
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except Exception as error:  # a damaged table makes pandas raise almost anything
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"The results in {folder} are damaged ({reason}); measure the rows again."
        ) from error
    return tables | {"about": about}


def export(runs: str | os.PathLike, results: str | os.PathLike, seed: int) -> None:
    """Make trained and measured rows those that come with the package.

    Parameters
    ----------
    runs, results : path
        What `train_rows` and `measure_rows` wrote.
    seed : int
        Whose weights.

    Raises
    ------
    ValueError
        If a row is lacking that the package's tables have: they are replaced as a whole.
    """
    measured = load_results(results)
    there = (RESULTS / "about.json").is_file()
    shown = set(load_results(RESULTS)["table"].index.unique("row")) if there else set()
    if lacking := shown - set(measured["table"].index.unique("row")):
        raise ValueError(
            f"{results} lacks {', '.join(sorted(lacking))}, which the package's tables have; train "
            f"and measure all rows in one folder, or leave out the export."
        )
    for row in ROWS:
        if (row, seed) not in measured["table"].index:
            continue
        run = Path(runs) / f"{row}-{seed}"
        saved = checkpoints.load(run / "checkpoint.pt")
        config, done = Config.from_dict(saved["config"]), saved["progress"]
        warmup = config.warmup_batch_size * done["warmup_step"]
        checkpoints.export(
            load_model(run),
            _weights_name(row, config.image_size),
            config=config,
            kind="generator",
            row=row,
            command=_command(config, row),
            seed=seed,
            data=f"{config.faces:,} procedural faces, {config.image_size} px",
            images_seen=warmup + config.batch_size * config.critic_steps * done["step"],
            seconds=round(done["seconds"]),
            device=measured["about"]["device"],
            figures=measured["table"].loc[row, seed].round(4).dropna().to_dict(),
        )
    for name in (*(f"{name}.csv" for name in TABLES), "about.json"):
        with write_atomically(RESULTS / name) as file:
            file.write((Path(results) / name).read_bytes())


def _command(config: Config, row: str) -> str:
    """What trains and measures a row again."""
    usual = Config.profile(config.name).replace(**ROWS[row]).to_dict()
    options = []
    for key, value in config.to_dict().items():
        if value != usual[key] and key != "seed":
            flag = key.replace("_", "-")
            on_or_off = {True: f"--{flag}", False: f"--no-{flag}"}
            options.append(on_or_off[value] if type(value) is bool else f"--{flag} {value}")
    changes = " ".join([f"--profile {config.name}", *options])
    return f"ablate {changes} --rows {row} --seeds {config.seed}"


def _weights_name(row: str, size: int) -> str:
    """The generator that everybody edits with is trained longer than the rows."""
    return f"{row}-row-{size}" if row == "mmagan" else f"{row}-{size}"


def over_seeds(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean of each row over its seeds, and the spread: half of the distance from least to most."""
    keys = [name for name in table.index.names if name != "seed"]
    groups = table.reset_index("seed", drop=True).groupby(level=keys, sort=False)
    return groups.mean(), (groups.max() - groups.min()) / 2


def load_rows(size: int = 64) -> Mapping[str, nn.Module]:
    """The trained rows that come with the package, in the order of `ROWS`.

    Parameters
    ----------
    size : int
        Side of the faces in pixels.

    Returns
    -------
    mapping
        Name in `ROWS` -> generator in eval mode.
    """
    names = {row: _weights_name(row, size) for row in ROWS}
    known = checkpoints.pretrained_models()
    return {r: checkpoints.load_pretrained(name) for r, name in names.items() if name in known}


def _cores(count: int) -> str:
    return "one CPU core" if count == 1 else f"{count} CPU cores"


def _commit() -> str:
    """The commit of the code that measures; "unknown" outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
