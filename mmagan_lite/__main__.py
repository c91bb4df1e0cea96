"""The command line: ``python -m mmagan_lite COMMAND --help``."""

import argparse
import dataclasses
import json
import math
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchvision
from PIL import Image

import mmagan_lite as mg
from mmagan_lite import ablation, checkpoints, data, distributed, editing, evaluation, plots, runs
from mmagan_lite import memory as needs
from mmagan_lite.config import CHOICES, PROFILES, Config

TEST_FACES = 512  # that shipped weights are measured on
T4_MEMORY = 12  # GB of Colab's T4 that training may take
MOST_ON_A_SHEET = 100
PICTURES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
    ".tiff": "TIFF", ".bmp": "BMP",
}  # fmt: skip
UNSET = argparse.SUPPRESS  # an option that was not given leaves no trace


def faces(args: argparse.Namespace) -> None:
    """Draw procedural faces: a sheet of people and expressions, or a folder of single faces."""
    if args.out.suffix and args.count > MOST_ON_A_SHEET:
        raise ValueError(
            f"A sheet shows at most {MOST_ON_A_SHEET} people; for {args.count} give --out a folder."
        )
    shown = [args.expression] if args.expression else list(mg.EXPRESSIONS)
    people = range(args.seed, args.seed + args.count)
    rows = (_drawn(person, shown, args) for person in people)  # drawn when they are needed
    if args.out.suffix:
        sheet = plots.grid(list(rows), [f"person {person}" for person in people], shown)
        with data.write_atomically(args.out) as file:
            sheet.savefig(file, format=args.out.suffix[1:], dpi=150)
    else:
        for person, row in zip(people, rows, strict=True):
            for expression, image in zip(shown, row, strict=True):
                _save(image, args.out / f"{person:06d}_{expression}.png")
    print(f"Wrote {args.count * len(shown)} faces to {args.out}.")


def _drawn(person: int, shown: list[str], args: argparse.Namespace) -> list[Image.Image]:
    """One person's expressions."""
    who = torch.full((len(shown),), person)
    drawn = mg.faces.render(who, shown, args.rho, size=args.size, variety=args.variety)
    return editing.to_pil(2 * drawn - 1)


def train(args: argparse.Namespace) -> None:
    """Train a generator; the options under "configuration" override the profile's."""
    if args.export:
        checkpoints.check_name(args.export)  # better before hours of training than after
    with distributed.started() as first:  # the only process, or the one that writes
        trainer = _trained(args, first)
    if not first:
        return
    if trainer.history:
        plots.history(trainer.history).savefig(args.out / "history.png")
    print(f"{trainer.step} of {trainer.config.steps} steps are done; the run lies in {args.out}.")
    if args.export:
        print(f"Wrote {_export(trainer, args)}.")


def _trained(args: argparse.Namespace, first: bool) -> mg.Trainer:
    """Begin or resume a run, and train it for as long as asked."""
    changes = _changes(args)
    if not args.resume:
        config = Config.profile(args.profile, **changes)
    elif changes or args.profile:
        raise ValueError("--resume takes no profile and no configuration: the run has its own.")
    else:
        config = Config.from_dict(checkpoints.load(args.out / "checkpoint.pt")["config"])
    if first:
        data.check_writable(args.out / "checkpoint.pt")
        print(json.dumps(config.to_dict()), flush=True)
    training, test = (_training_faces(args.data, split, config) for split in ("train", "test"))
    if args.resume:
        trainer = mg.Trainer.resume(args.out, training, config, test=test, compile=args.compile)
    else:
        trainer = mg.Trainer(config, training, args.out, test=test, compile=args.compile)
    return trainer.fit(minutes=args.minutes)


def _export(trainer: mg.Trainer, args: argparse.Namespace) -> Path:
    """Measure a trained generator and add it, with its curves, to the weights that ship."""
    config, name = trainer.config, args.export
    test = data.ProceduralFaces("test", TEST_FACES, config.image_size)
    figures = (
        evaluation.evaluate({name: trainer.model}, test, perceptual=False)
        .loc[name]
        .round(4)
        .to_dict()
    )
    critic_steps = config.critic_steps * trainer.step
    images = config.warmup_batch_size * trainer.warmup_step + config.batch_size * critic_steps
    history = pd.DataFrame(trainer.history).astype(float)
    history["step"] = history["step"] // 50 * 50  # means of 50 steps are enough for curves
    curves = history.groupby("step").mean().round(4).reset_index().replace({float("nan"): None})
    with data.write_atomically(checkpoints.WEIGHTS / f"{name}.history.json") as file:
        file.write(json.dumps(curves.to_dict("list")).encode())
    return checkpoints.export(
        trainer.model, name, config=config, kind="generator", command=" ".join(sys.argv[1:]),
        seed=config.seed, data=args.data, images_seen=images, seconds=round(trainer.seconds),
        device=str(trainer.device), figures=figures,
    )  # fmt: skip


def _training_faces(source: str, split: str, config: Config) -> data.Faces:
    size = config.image_size
    if source == "procedural":
        count = config.faces if split == "train" else 16
        return data.ProceduralFaces(split, count, size, config.variety, config.seed)
    return data.PreparedFaces(source, split, size)


def tensorboard(args: argparse.Namespace) -> None:
    """Write a run's curves and samples for TensorBoard, until the run is complete."""
    out = args.out or args.folder / "tensorboard"
    print(f"To look at them: tensorboard --logdir {out}", flush=True)
    steps, pictures = runs.to_tensorboard(args.folder, out, follow=not args.once)
    print(f"Wrote {steps} steps and {pictures} pictures to {out}.")


def memory(args: argparse.Namespace) -> None:
    """Tell how much memory a training needs; configuration as for train."""
    config = Config.profile(args.profile, **_changes(args))
    print(f"{config.name}: batches of {config.batch_size} faces of {config.image_size} pixels, "
          f"{config.precision}")  # fmt: skip
    parts = needs.measure(config) if args.measure else needs.estimate(config)
    for name, size in parts.items():
        print(f"{name:12} {size / 1e9:6.2f} GB")
    total = parts["reserved"] if args.measure else sum(parts.values())
    fits = "less" if total < T4_MEMORY * 1e9 else "more"
    print(f"together     {total / 1e9:6.2f} GB, {fits} than the {T4_MEMORY} GB of Colab's T4")


def edit(args: argparse.Namespace) -> None:
    """Give the face in a picture another expression."""
    if not args.image.is_file():
        raise FileNotFoundError(f"There is no file {args.image}.")
    model = editing.load_model(args.model)
    out = args.out or args.image.with_name(f"{args.image.stem}_{args.expression}.png")
    edited = editing.edit(args.image, args.expression, args.rho, model, args.face)
    _save(edited, out)
    print(f"Wrote {out}.")


def evaluate(args: argparse.Namespace) -> None:
    """Measure models on people that nobody was trained on."""
    if args.csv and args.csv == args.markdown:
        raise ValueError(f"--csv and --markdown are both {args.csv}; name two files.")
    for path in filter(None, (args.csv, args.markdown)):
        data.check_writable(path)
    models = {str(name): editing.load_model(name) for name in args.models}
    sizes = {editing.image_size(model) for model in models.values()}
    if len(sizes) > 1:
        raise ValueError(f"The models work at {sorted(sizes)} pixels; evaluate them apart.")
    if args.data == "procedural":
        test = data.ProceduralFaces("test", args.faces, sizes.pop())
    else:
        test = data.PreparedFaces(args.data, "test", sizes.pop())
    by = "expression" if args.by_expression else None
    table = evaluation.evaluate(models, test, by=by, perceptual=not args.fast)
    print(table.round(3).T.to_string())
    texts = {args.csv: table.to_csv, args.markdown: table.round(3).reset_index().to_markdown}
    for path, text in texts.items():
        if path:
            with data.write_atomically(path) as file:
                file.write(text(index=path == args.csv).encode())
            print(f"Wrote {path}.")


def ablate(args: argparse.Namespace) -> None:
    """Train and measure MMA-GAN, its ablations and the baselines on the same faces."""
    config = Config.profile(args.profile, **_changes(args))
    # If something is missing that measuring needs, it should not be missed after hours of training.
    evaluation.load_judge(config.image_size, "judge")
    evaluation.lpips_network()
    evaluation.inception_network()
    training = _training_faces("procedural", "train", config)
    complete = ablation.train_rows(config, training, args.out, args.rows, args.seeds, args.minutes)
    wanted = len(args.rows) * len(args.seeds)
    print(f"{len(complete)} of {wanted} runs are complete; they lie in {args.out}.")
    if len(complete) < wanted:
        print("The same command goes on where this one stopped.")
        return
    results = args.out / "results"
    ablation.measure_rows(args.out, results, args.test_faces, args.rows, args.seeds)
    means, _ = ablation.over_seeds(ablation.load_results(results)["table"])
    print(means.round(3).T.to_string())
    print(f"Wrote {results}.")
    if args.export:
        ablation.export(args.out, results, args.seeds[0])
        print(f"Wrote the weights to {checkpoints.WEIGHTS} and the results to {ablation.RESULTS}.")


def info(args: argparse.Namespace) -> None:
    """Tell versions, device and profile, and what weights there are; or about one checkpoint."""
    if args.checkpoint:
        saved = checkpoints.load(args.checkpoint)
        print(json.dumps({**saved["progress"], "config": saved["config"]}, indent=2))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"mmagan-lite {mg.__version__}, Python {platform.python_version()}, "
          f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}")  # fmt: skip
    print(f"device: {device}, {torch.get_num_threads()} threads")
    print(f"profile: {Config.profile().name}")
    for name, entry in mg.pretrained_models().items():
        figures = ", ".join(f"{key} {value}" for key, value in entry.get("figures", {}).items())
        print(f"{name}: {entry['kind']}, {entry['size']} px; {figures}")


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of Config that were given."""
    fields = [field.name for field in dataclasses.fields(Config)]
    return {key: value for key, value in vars(args).items() if key in fields}


def _save(image: Image.Image, path: Path) -> None:
    """Write a picture completely or not at all, in the format that its name asks for."""
    kind = PICTURES.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} does not end in one of {', '.join(PICTURES)}.")
    with data.write_atomically(path) as file:
        image.save(file, kind)


# fmt: off
def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser("python -m mmagan_lite", description=mg.__doc__.splitlines()[0])
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    def command(function: Any) -> argparse.ArgumentParser:
        text = function.__doc__.splitlines()[0]
        sub = commands.add_parser(function.__name__, help=text, description=text)
        sub.set_defaults(run=function)
        return sub

    sub = command(faces)
    sub.add_argument("--out", type=Path, default=Path("faces.png"),
                     help="a sheet (.png, .jpg, .pdf) or, without a suffix, a folder [%(default)s]")
    sub.add_argument("--count", type=_count, default=4, help="people [%(default)s]")
    sub.add_argument("--expression", choices=mg.EXPRESSIONS, metavar="NAME",
                     help=f"one of {', '.join(mg.EXPRESSIONS)}; all of them if not given")
    sub.add_argument("--rho", type=float, default=1.0, help="strength, 0 to 1 [%(default)s]")
    sub.add_argument("--size", type=int, default=128, choices=mg.faces.SIZES, help="pixels")
    sub.add_argument("--variety", type=float, default=1.0,
                     help="how much they differ, 0 to 1 [%(default)s]")
    sub.add_argument("--seed", type=_person, default=0, help="the first person [%(default)s]")

    sub = command(train)
    sub.epilog = (
        "On several GPUs, or with several processes on a CPU: torchrun --nproc-per-node=N -m "
        "mmagan_lite train ...  The processes share each batch, whose size N has to divide, and "
        "the result is that of one process but for rounding. If one dies, all end; --resume goes "
        "on from the last checkpoint with as many processes as you like."
    )
    sub.add_argument("--profile", choices=PROFILES,
                     help="laptop, or colab where CUDA is there, if not given")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    sub.add_argument("--data", default="procedural",
                     help="'procedural', or what `python -m data_prep` wrote [%(default)s]")
    sub.add_argument("--resume", action="store_true", help="continue the run in --out")
    sub.add_argument("--minutes", type=_minutes, help="stop after so long; --resume goes on later")
    sub.add_argument("--compile", action="store_true",
                     help="compile the networks: slower at the start, then faster on a GPU")
    sub.add_argument("--export", metavar="NAME",
                     help="afterwards add the generator to the weights that come with the package")
    _add_configuration(sub, without=("name",))

    sub = command(tensorboard)
    sub.add_argument("folder", type=Path, metavar="RUN", help="folder of the run")
    sub.add_argument("--out", type=Path, help="RUN/tensorboard if not given")
    sub.add_argument("--once", action="store_true",
                     help="write what is there; do not wait for more")

    sub = command(memory)
    sub.add_argument("--profile", choices=PROFILES,
                     help="laptop, or colab where CUDA is there, if not given")
    sub.add_argument("--measure", action="store_true",
                     help="measure on the CUDA device that is here instead of counting")
    _add_configuration(sub, without=("name",))

    sub = command(edit)
    sub.add_argument("image", type=Path, metavar="IMAGE", help="a picture")
    sub.add_argument("expression", metavar="EXPRESSION", choices=mg.EXPRESSIONS,
                     help=", ".join(mg.EXPRESSIONS))
    sub.add_argument("--rho", type=float, default=1.0, help="strength, 0 to 1 [%(default)s]")
    sub.add_argument("--out", type=Path, help="IMAGE_EXPRESSION.png beside it if not given")
    sub.add_argument("--face", type=_face, default="crop", metavar="{crop,detect,N}",
                     help="the picture is a crop of a face; the only face in it is to be found; "
                     "or the Nth from the left [%(default)s]")
    sub.add_argument("--model", default=editing.DEFAULT_MODEL,
                     help="a name from `info`, or a run's folder or checkpoint.pt [%(default)s]")

    sub = command(evaluate)
    sub.add_argument("models", nargs="*", default=[editing.DEFAULT_MODEL], metavar="MODEL",
                     help="names from `info`, or runs' folders or checkpoints "
                     f"[{editing.DEFAULT_MODEL}]")
    sub.add_argument("--data", default="procedural",
                     help="'procedural', or what `python -m data_prep` wrote: its test pictures, "
                     "without the columns that need an exact answer [%(default)s]")
    sub.add_argument("--faces", type=_count, default=TEST_FACES,
                     help="how many, of procedural ones [%(default)s]")
    sub.add_argument("--by-expression", action="store_true", help="split each row")
    sub.add_argument("--csv", type=Path, help="also write the table here")
    sub.add_argument("--markdown", type=Path, help="also write it here, as a table in Markdown")
    sub.add_argument("--fast", action="store_true", help="without LPIPS, FID and KID")

    sub = command(ablate)
    sub.add_argument("--profile", choices=PROFILES,
                     help="laptop, or colab where CUDA is there, if not given")
    sub.add_argument("--out", type=Path, required=True,
                     help="folder of the runs and results; an earlier one goes on")
    sub.add_argument("--rows", nargs="+", default=list(ablation.ROWS), choices=ablation.ROWS,
                     metavar="ROW", help=f"some of {', '.join(ablation.ROWS)} [all]")
    sub.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="SEED",
                     help="one run a row each [0]")
    sub.add_argument("--minutes", type=_minutes, help="at most so long for each run; go on later")
    sub.add_argument("--test-faces", type=_count, default=TEST_FACES,
                     help="faces to measure on [%(default)s]")
    sub.add_argument("--export", action="store_true",
                     help="afterwards make weights and results those that come with the package")
    _add_configuration(sub, without=("name", "seed"))

    sub = command(info)
    sub.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT",
                     help="tell about this checkpoint.pt instead")
    return top
# fmt: on


def _add_configuration(command: argparse.ArgumentParser, without: Sequence[str]) -> None:
    """Make an option of each field of Config."""
    group = command.add_argument_group(
        "configuration",
        "The fields of Config, which explains them; those not given are the profile's.",
    )
    for field in dataclasses.fields(Config):
        kind: dict = {"type": field.type, "metavar": field.type.__name__.upper()}
        if field.type is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        elif field.name in CHOICES:
            kind = {"type": field.type, "choices": CHOICES[field.name]}
        if field.name not in without:
            group.add_argument(f"--{field.name.replace('_', '-')}", default=UNSET, **kind)


def _count(text: str) -> int:
    return _whole(text, 1, 10**9)


def _person(text: str) -> int:
    return _whole(text, 0, 10**15)


def _whole(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {least} to {most:,}; got {text!r}"
        )
    return int(text)


def _minutes(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number of minutes from 0; got {text!r}")


def _face(text: str) -> str | int:
    if text not in ("crop", "detect") and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected crop, detect or a number; got {text!r}")
    return int(text) if text.isdecimal() else text


def _sentence(error: Exception) -> str:
    """What is said of an error; of the system's own, without its number."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}."
    return str(error)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; a mistake of the user's is one sentence on stderr and exit status 2."""
    top = parser()
    args = top.parse_args(arguments)
    if not hasattr(args, "run"):
        top.print_help()
        return 0
    try:
        args.run(args)
    except (ValueError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
