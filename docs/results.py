"""Write the page of results and its pictures again: ``python docs/results.py``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch

import mmagan_lite as mg
from mmagan_lite import ablation, editing, evaluation, plots

HERE = Path(__file__).parent
PERSON = 1_000_102  # nobody was trained on this one
PAPER = ["fid_input", "psnr_input", "ssim_input", "lpips_input"]
HONEST = [
    *("accuracy", "accuracy_strong", "accuracy_neutral", "rho_error", "error_removed"),
    *("psnr_truth", "ssim_truth", "lpips_truth", "fid_target", "kid_target"),
    *("change_outside", "attention", "accuracy_2", "rho_error_2"),
]
BETTER = {  # whether more is better, of the columns that tell how good an edit is
    "accuracy": True, "rho_error": False, "error_removed": True, "psnr_truth": True,
    "ssim_truth": True, "lpips_truth": False, "fid_target": False, "change_outside": False,
}  # fmt: skip
DIGITS = {"fid_input": 1, "fid_target": 1, "psnr_input": 1, "psnr_truth": 1, "change_outside": 2}


def page(results: Mapping[str, Any], longer: Mapping[str, Any]) -> str:
    """The page, from `ablation.load_results` of the rows and of those that were trained longer."""
    about, config = results["about"], results["about"]["config"]
    means, spread = ablation.over_seeds(results["table"])
    seeds = sorted({run["seed"] for run in about["runs"]})
    test = about["test"]
    warmup = f"after {config['warmup_steps']:,} steps of the critic's warm-up where it applies"
    parts = [
        "# Results",
        "<!-- Written by docs/results.py from mmagan_lite/results; do not edit. -->",
        "All rows learned from the same drawn faces, for the same number of generator steps, with "
        "the same stabilisers (initialisation, augmentation, moving average; for all but CycleGAN "
        "also the warm-up, the fake class and conditional scores). The last row is MMA-GAN with "
        "the paper's losses and a gradient penalty alone. CycleGAN needs a pair of generators for "
        "each expression; its seven pairs share the steps.",
        _table(
            ["", ""],
            [
                [
                    "training data",
                    f"{config['faces']:,} faces, {config['image_size']} px, variety "
                    f"{config['variety']:g}",
                ],
                [
                    "budget",
                    f"{config['steps']:,} generator steps of {config['batch_size']} faces, "
                    f"{warmup}",
                ],
                ["size", f"width {config['width']}, {config['blocks']} blocks"],
                ["seeds", ", ".join(map(str, seeds))],
                [
                    "measured on",
                    f"{test['faces']} faces of people that nobody was trained on, "
                    f"one target each (seed {test['seed']})",
                ],
                ["trained on", about["device"]],
                ["commit", about["commit"]],
            ],
        ),
        "## The paper's columns",
        "Distances of the output to its *input*, as in the paper's Table 1. Copying the input wins "
        "them all, so they say how little a model changes and nothing about its edits.",
        _rows(means, spread, PAPER),
        "## What an edit should do",
        "Against the exact answer and by two judges that no generator has seen; see "
        "`evaluation.evaluate` for each column. At this number of faces FID is too large by an "
        "amount that is the same for all rows; the ground truth shows it.",
        _rows(means, spread, HONEST),
        *_comparisons(means),
        "![One neutral face (left) and what each row makes of it at full strength](results.png)",
        *_longer(means, results, longer),
        "## Where in the face",
        "Share of the squared error removed (1 is the exact answer, 0 a copy, below 0 worse than a "
        "copy), and mean change in 8-bit levels.",
        _regions(results["regions"]),
        "## By expression",
        "Share of faces in which the first judge reads the target expression; below it the share "
        "of the squared error removed.",
        _expressions(results["expressions"], "accuracy"),
        _expressions(results["expressions"], "error_removed"),
        "## How strength follows ρ",
        "Neutral faces edited to the seven expressions; what the first judge reads. StarGAN and "
        "CycleGAN have no input for ρ: all they know is on or off.",
        "![Read intensity against the one asked for](sweep.png)",
        "## Made by",
        "```bash\n"
        f"{_command(config, '--seeds', *seeds, '--out runs/rows --export')}\n"
        "python docs/results.py\n```",
        _table(
            ["run", "seed", "steps", "minutes of training"],
            [
                [_label(run["row"]), run["seed"], f"{run['steps']:,}", f"{run['seconds'] / 60:.0f}"]
                for run in about["runs"]
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _comparisons(means: pd.DataFrame) -> list[str]:
    """In which columns MMA-GAN is ahead of each other row: counted, not claimed."""
    ours, lines = means.loc["mmagan"], []
    for row in (row for row in ablation.ROWS if row != "mmagan" and row in means.index):
        theirs = means.loc[row]
        ahead = [c for c, more in BETTER.items() if (ours[c] > theirs[c]) == more]
        behind = [c for c in BETTER if c not in ahead]
        text = f"- Against **{_label(row)}**, MMA-GAN is ahead in {_names(ahead)}"
        lines.append(text + (f"; behind in {_names(behind)}." if behind else "."))
    return ["\n".join(lines)]


def _longer(
    means: pd.DataFrame, results: Mapping[str, Any], longer: Mapping[str, Any]
) -> list[str]:
    """The section that tells whether the order of the rows holds with a larger budget."""
    short, long = results["about"]["config"], longer["about"]["config"]
    later, _ = ablation.over_seeds(longer["table"])
    rows = [row for row in ablation.ROWS if row in later.index]
    head = [""]
    for row in rows:
        head += [f"{_label(row)}, {config['steps']:,} steps" for config in (short, long)]
    body = []
    for c in BETTER:
        cells = (_number(table.loc[row, c], c) for row in rows for table in (means, later))
        body.append([f"`{c}`", *cells])
    return [
        "## With a larger budget",
        f"Two of the rows again after {long['steps']:,} steps on {long['faces']:,} faces, one run "
        f"each, measured on the same {longer['about']['test']['faces']} faces (commit "
        f"{longer['about']['commit']}). Their weights do not ship; this trains them again.",
        f"```bash\n{_command(long, '--rows', *rows, '--out runs/longer')}\n```",
        _table(head, body),
    ]


def _command(config: Mapping[str, Any], *more: Any) -> str:
    """What trains and measures rows with this configuration."""
    keys = {"profile": "name", "faces": "faces", "steps": "steps", "precision": "precision"}
    options = (f"--{option} {config[key]}" for option, key in keys.items())
    return " ".join(["python -m mmagan_lite ablate", *options, *map(str, more)])


def _names(columns: list[str]) -> str:
    return ", ".join(f"`{column}`" for column in columns) or "nothing"


def _label(row: str) -> str:
    return ablation.LABELS.get(row, row)


def _number(value: float, column: str, spread: float = float("nan")) -> str:
    """A cell of a table; spread is shown where there are several seeds."""
    if pd.isna(value):
        return ""
    digits = DIGITS.get(column, 3)
    shown = f"{value:.{digits}f}" if abs(value) != float("inf") else "∞"
    return shown + (f" ± {spread:.{digits}f}" if spread > 0 else "")


def _rows(means: pd.DataFrame, spread: pd.DataFrame, columns: list[str]) -> str:
    """A table with a column for each row of the comparison, which reads better on a page."""
    body = [
        [f"`{c}`", *(_number(means.loc[r, c], c, spread.loc[r, c]) for r in means.index)]
        for c in columns
    ]
    return _table(["", *map(_label, means.index)], body)


def _regions(regions: pd.DataFrame) -> str:
    keys = ["row", "region"]
    sums = regions.groupby(keys, sort=False)[["error", "error_input"]].sum()
    removed = 1 - sums["error"] / sums["error_input"]
    change = regions.groupby(keys, sort=False)["change"].mean()
    names = regions.index.unique("region")
    rows = [r for r in regions.index.unique("row") if r != evaluation.COPY]
    body = [
        [_label(row), *(f"{removed[row, n]:.2f} / {change[row, n]:.1f}" for n in names)]
        for row in rows
    ]
    return _table(["error removed / change", *names], body)


def _expressions(table: pd.DataFrame, column: str) -> str:
    means, _ = ablation.over_seeds(table[[column]])
    wide = means[column].unstack("expression")
    names = [name for name in mg.EXPRESSIONS if name in wide]
    rows = [r for r in means.index.unique("row") if r != evaluation.COPY]
    body = [[_label(r), *(_number(wide.loc[r, n], column) for n in names)] for r in rows]
    return _table([f"`{column}`", *names], body)


def _table(head: list[str], body: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def draw_faces() -> None:
    """One face, the exact answers and what each shipped row makes of it."""
    z = mg.encode(mg.EXPRESSIONS[1:])  # (7, 8)
    x = 2 * mg.faces.render(PERSON, "neutral", nuisance=PERSON, size=64) - 1  # (1, 3, 64, 64)
    who = torch.full((len(z),), PERSON)
    exact = 2 * mg.faces.render(who, mg.EXPRESSIONS[1:], nuisance=PERSON, size=64) - 1
    rows = {"exact answer": exact}
    for row, model in ablation.load_rows(64).items():
        rows[_label(row)] = evaluation.edited(model, x.expand(len(z), -1, -1, -1), z)
    pictures = [editing.to_pil(torch.cat([x, y])) for y in rows.values()]
    labels = ("input", *mg.EXPRESSIONS[1:])
    plots.grid(pictures, list(rows), labels).savefig(HERE / "results.png", dpi=80)


def draw_sweep(sweep: pd.DataFrame) -> None:
    """Read intensity against the one asked for, a curve a row."""
    means, _ = ablation.over_seeds(sweep[["rho_read"]])
    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for row in means.index.unique("row"):
        curve = means.loc[row, "rho_read"]
        style = "k--" if row == evaluation.TRUTH else "-"
        axis.plot(curve.index, curve, style, label=_label(row))
    axis.set(xlabel="ρ asked for", ylabel="ρ read by the judge", xlim=(0, 1), ylim=(0, 1))
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    figure.savefig(HERE / "sweep.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    found, longer = ablation.load_results(), ablation.load_results(ablation.RESULTS / "longer")
    (HERE / "results.md").write_text(page(found, longer), encoding="utf-8")
    draw_faces()
    draw_sweep(found["sweep"])
