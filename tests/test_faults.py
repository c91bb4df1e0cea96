"""A campaign of bad input: whatever comes in, a sentence of ours comes out and nothing is harmed.

Hypothesis makes up the input, the same every time. What is let through may succeed; what is refused
must be refused by a `raise` of this project, in one sentence, without a half-written file. Some of
the files would create CANARY if anything in them were run.
"""

import csv
import io
import json
import linecache
import math
import pickle
import re
import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

import data_prep
import mmagan_lite as mg
from data_prep.__main__ import main as prepare_command
from data_prep.journal import Journal
from mmagan_lite import ablation, checkpoints, detection, runs
from mmagan_lite.__main__ import main as command
from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.data import PreparedFaces, ProceduralFaces
from mmagan_lite.editing import load_model
from mmagan_lite.evaluation import load_judge
from mmagan_lite.exercises.mark import answers
from mmagan_lite.training import Trainer

OURS = tuple(str(Path(package.__file__).parent) for package in (mg, data_prep))
PROMISED = (ValueError, TypeError, OSError, FloatingPointError, MemoryError)
ROOT = Path(__file__).parent.parent
MANIFEST = checkpoints.WEIGHTS / "manifest.json"
SMALL = Config.profile(
    "smoke", image_size=32, width=2, blocks=1, critic_width=2, batch_size=2, steps=3,
    warmup_steps=1, warmup_batch_size=2, faces=8,
)  # fmt: skip


def campaign(count):
    """So many inputs, the same in every run."""
    return settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


def check_sentence(text):
    assert "\n" not in text.strip(), text
    assert len(text.split()) >= 5, text
    assert text.rstrip()[-1] in ".)?", text


def outcome(call, *args, **kwargs):
    """What a call returns, or the error with which it was refused, if that is as promised."""
    try:
        return call(*args, **kwargs)
    except PROMISED as error:
        refused = error
    last = traceback.extract_tb(refused.__traceback__)[-1]
    line = linecache.getline(last.filename, last.lineno).strip()
    assert last.filename.startswith(OURS), f"raised by {last.filename}: {refused}"
    assert line.startswith("raise"), f"not refused but failed at `{line}`: {refused}"
    check_sentence(str(refused))
    return refused


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@st.composite
def damaged(draw, content):
    """Bytes with a piece cut off, left out, repeated, overwritten or put in."""
    place = draw(st.integers(0, len(content)))
    length = draw(st.integers(1, 64))
    return draw(
        st.sampled_from([
            content[:place],
            content[place:],
            content[:place] + content[place + length :],
            content[: place + length] + content[place:],
            content[:place] + bytes(length) + content[place + length :],
            content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:],
            content[:place] + bytes(b ^ 255 for b in content[place : place + 1])
            + content[place + 1 :],
        ])
    )  # fmt: skip


NUMBERS = st.one_of(
    st.integers(-3, 12), st.integers(), st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, np.float64(0.5), np.int64(3)]),
)  # fmt: skip
PLAIN = st.one_of(  # what a file can hold
    NUMBERS, st.none(), st.booleans(), st.text(max_size=8),
    st.lists(st.integers(-2, 9), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(0, 3), max_size=2),
    st.sampled_from([[["fear"]], {"1": 2}, {12: 0.5}, {"2R": math.nan}, "../../fear", "", "\0"]),
)  # fmt: skip
ANYTHING = st.one_of(
    PLAIN, st.binary(max_size=8), st.complex_numbers(),
    st.sampled_from([
        *mg.EXPRESSIONS, object(), range(3), torch.zeros(3), torch.zeros(1, 1), torch.tensor(7),
        torch.tensor([True]), torch.tensor(math.nan), torch.tensor([1, 99]), np.zeros(3),
        np.zeros((1, 1)), np.array("fear"), np.datetime64("2020-01-01"),
    ]),
)  # fmt: skip


# --------------------------------------------------------------------------- values


@campaign(400)
@given(ANYTHING, ANYTHING)
def test_codes(expression, rho):
    z = outcome(mg.encode, expression, rho)
    if isinstance(z, torch.Tensor):
        assert z.shape[-1] == 8
        assert ((z >= 0) & (z <= 1)).all()


@campaign(400)
@given(st.fixed_dictionaries({}, optional={
    "identity": ANYTHING, "expression": ANYTHING, "rho": ANYTHING, "nuisance": ANYTHING,
    "size": ANYTHING, "variety": ANYTHING, "occlusion": ANYTHING,
}))  # fmt: skip
def test_drawn_faces(given_values):
    values = {"identity": 1, "expression": "fear", "size": 32, **given_values}
    image = outcome(mg.faces.render, **values)
    if isinstance(image, torch.Tensor):
        assert ((image >= 0) & (image <= 1)).all()


FIELDS = sorted(SMALL.to_dict())


@campaign(400)
@given(st.dictionaries(st.sampled_from([*FIELDS, "widht", ""]), ANYTHING, min_size=1, max_size=3))
def test_configurations(fields):
    named = fields.pop("name", "smoke")
    for config in (outcome(Config.profile, named, **fields), outcome(SMALL.replace, **fields)):
        if isinstance(config, Config):
            assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@campaign(100)
@given(st.fixed_dictionaries({}, optional={
    "split": ANYTHING, "faces": ANYTHING.filter(lambda n: not (isinstance(n, int) and n > 12)),
    "variety": ANYTHING, "seed": ANYTHING, "label_noise": ANYTHING, "occlusion": ANYTHING,
    "size": ANYTHING,
}))  # fmt: skip
def test_sets_of_drawn_faces(tmp_path, values):
    before = contents(tmp_path)
    made = outcome(ProceduralFaces, **{"faces": 2, "size": 32, "cache": tmp_path, **values})
    if isinstance(made, Exception):
        assert contents(tmp_path) == before


SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 16, 24, 32]), max_size=5)
TENSORS = st.builds(
    torch.zeros, SIZES, dtype=st.sampled_from([torch.float32, torch.int64, torch.bool])
)


@pytest.fixture(scope="module")
def tiny():
    return [part.eval() for part in networks(SMALL)]


@campaign(200)
@given(
    st.one_of(TENSORS, st.just(torch.zeros(1, 3, 32, 32))),
    st.one_of(TENSORS, st.just(torch.zeros(1, 8))),
)
def test_inputs_of_the_networks(tiny, x, z):
    generator, critic = tiny
    y = outcome(generator, x, z)
    assert isinstance(y, Exception) or y.shape == x.shape
    outcome(critic, x)


# --------------------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def pictures():
    """A face of 64 pixels in every format that a photograph may have."""
    face = mg.editing.to_pil(2 * mg.faces.render([3], "surprise", size=64) - 1)[0]
    register_heif_opener()
    contents = {}
    for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "HEIF"):
        file = io.BytesIO()
        face.save(file, format)
        contents[format] = file.getvalue()
    return contents


@campaign(400)
@given(st.data())
def test_damaged_pictures(pictures, tiny, draw):
    format = draw.draw(st.sampled_from(sorted(pictures)))
    content = draw.draw(damaged(pictures[format]))
    edited = outcome(mg.edit, content, "fear", 0.5, tiny[0])
    assert isinstance(edited, ValueError | Image.Image)


@campaign(150)
@given(st.one_of(TENSORS, ANYTHING), ANYTHING, ANYTHING, ANYTHING)
def test_what_is_to_be_edited(tiny, image, expression, steps, face):
    outcome(mg.edit, image, expression, steps, tiny[0], face)
    if not (isinstance(steps, int) and steps > 12):
        outcome(mg.sweep, image, expression, steps, tiny[0], face)
    outcome(detection.detect, image)


def test_a_folder_of_pictures_of_which_most_are_damaged(pictures, tmp_path):
    """data_prep takes the readable ones and says of each other why it does not."""
    random = np.random.default_rng(0)
    folder = tmp_path / "source" / "fear"
    folder.mkdir(parents=True)
    for format, content in pictures.items():
        (folder / f"whole.{format.lower()}").write_bytes(content)
        for i in range(6):
            part = bytearray(content[: random.integers(1, len(content))])
            part[random.integers(len(part))] ^= 255
            (folder / f"{i}.{format.lower()}").write_bytes(part)
    before = contents(tmp_path)
    report = data_prep.prepare("imagefolder", tmp_path / "source", tmp_path / "out", size=32,
                               align=False, workers=1)  # fmt: skip
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert report["found"] == 7 * 7
    assert report["used"] >= 7
    assert report["used"] + sum(report["skipped"].values()) == report["found"]
    crops = [name for name in after if re.fullmatch(r"out/(train|test)/.*\.png", name)]
    assert len(crops) == report["used"]
    faces = sum(
        len(outcome(PreparedFaces, tmp_path / "out", split, 32, tmp_path / "cache"))
        for split in ("train", "test") if (tmp_path / "out" / split).exists()
    )  # fmt: skip
    assert faces == report["used"]


# --------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ProceduralFaces(faces=8, size=32, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    Trainer(SMALL, data, folder).fit()
    return folder


@pytest.fixture
def copy(run, tmp_path):
    """The run, in a folder of which nobody may leave."""
    return Path(shutil.copytree(run, tmp_path / "runs" / "mine"))


def open_run(folder, data):
    """All that reads the folder of a run; none of it may change what it does not understand."""
    before = contents(folder)
    resumed = outcome(Trainer.resume, folder, data)
    if isinstance(resumed, Exception):
        assert contents(folder) == before
    outcome(load_model, folder)
    watched = runs.Run(folder)
    assert watched.problem is None or check_sentence(watched.problem) is None
    assert watched.refresh() is False
    return resumed


@campaign(80)
@given(st.data())
def test_damaged_checkpoints(run, data, tmp_path, draw):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, dirs_exist_ok=True)
    content = (run / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(draw.draw(damaged(content)))
    open_run(folder, data)


def places(value, path=()):
    """The way to each part of a nested dict or list."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def change(draw, value):
    """Remove or replace a part of a nested dict or list."""
    *way, last = draw.draw(st.sampled_from(sorted(places(value), key=str)))
    for key in way:
        value = value[key]
    new = draw.draw(st.one_of(PLAIN, st.just(...)))
    if new is ...:
        del value[last]
    else:
        value[last] = new


@campaign(60)
@given(st.data())
def test_checkpoints_of_other_contents(run, data, tmp_path, draw):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, dirs_exist_ok=True)
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    change(draw, saved)
    torch.save(saved, folder / "checkpoint.pt")
    open_run(folder, data)


@campaign(40)
@given(st.data())
def test_damaged_histories(run, data, tmp_path, draw):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, dirs_exist_ok=True)
    content = (run / "history.csv").read_bytes()
    (folder / "history.csv").write_bytes(draw.draw(damaged(content)))
    resumed = open_run(folder, data)
    if isinstance(resumed, Trainer):
        assert len(resumed.history) == 4  # one of warm-up
        assert all("seconds" in row for row in resumed.history)


@campaign(100)
@given(ANYTHING, ANYTHING)
def test_limits_of_training(data, steps, minutes):
    trainer = Trainer(SMALL.replace(steps=1, warmup_steps=0), data)
    outcome(trainer.fit, steps, minutes)


class Trap:
    """Whoever unpickles this writes a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_nothing_in_a_file_is_run(copy, data, tmp_path):
    canary = tmp_path / "CANARY"
    pickle.loads(pickle.dumps(Trap(canary)))
    assert canary.exists()  # the trap works
    canary.unlink()
    saved = torch.load(copy / "checkpoint.pt", weights_only=True)
    torch.save({**saved, "progress": Trap(canary)}, copy / "checkpoint.pt")
    assert isinstance(open_run(copy, data), ValueError)
    (copy / "checkpoint.pt").write_bytes(pickle.dumps(Trap(canary)))
    assert isinstance(open_run(copy, data), ValueError)
    ProceduralFaces(faces=2, size=32, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npy")
    whole = kept.read_bytes()
    np.save(kept, np.array([Trap(canary)]), allow_pickle=True)
    ProceduralFaces(faces=2, size=32, cache=tmp_path / "cache")
    assert kept.read_bytes() == whole
    npy = tmp_path / "source"
    (npy / "train_set" / "images").mkdir(parents=True)
    (npy / "train_set" / "annotations").mkdir()
    (npy / "train_set" / "images" / "1.jpg").write_bytes(b"")
    np.save(npy / "train_set" / "annotations" / "1_exp.npy", np.array([Trap(canary)]))
    outcome(data_prep.prepare, "affectnet_npy", npy, tmp_path / "out", workers=1)
    assert not canary.exists()


# --------------------------------------------------------------------------- the package's files


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The package's weights in another folder, in which a test may do as it likes."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in checkpoints.WEIGHTS.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.setattr(checkpoints, "WEIGHTS", folder)
    return folder


@campaign(150)
@given(st.data())
def test_damaged_manifests(weights, draw):
    manifest = MANIFEST.read_bytes()
    if draw.draw(st.booleans()):
        said = json.loads(manifest)
        change(draw, said)
        manifest = json.dumps(said, default=float).encode()
    else:
        manifest = draw.draw(damaged(manifest))
    (weights / "manifest.json").unlink()
    (weights / "manifest.json").write_bytes(manifest)
    outcome(checkpoints.pretrained_models)
    outcome(checkpoints.load_pretrained, "mmagan-64")
    outcome(load_judge, 64)


@campaign(60)
@given(st.one_of(st.text(max_size=12), st.sampled_from(["../evil", "/evil", "a/b", "..", "a\\b"])))
def test_names_of_weights(tmp_path, name):
    folder = tmp_path / "weights"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "WEIGHTS", folder)
        outcome(checkpoints.export, torch.nn.Linear(1, 1), name, config=SMALL, kind="critic")
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} <= {folder}


@campaign(120)
@given(st.data())
def test_damaged_results(tmp_path, draw):
    for path in ablation.RESULTS.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    victim = draw.draw(st.sampled_from(sorted(tmp_path.iterdir())))
    victim.write_bytes(draw.draw(damaged(victim.read_bytes())))
    outcome(ablation.load_results, tmp_path)


# --------------------------------------------------------------------------- prepared data


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Sixteen drawn faces in folders, and what data_prep made of all of them or of nine."""
    home = tmp_path_factory.mktemp("prepared")
    for expression in ("fear", "happiness"):
        folder = home / "source" / expression
        folder.mkdir(parents=True)
        images = mg.editing.to_pil(2 * mg.faces.render(range(8), [expression] * 8, size=32) - 1)
        for i, image in enumerate(images):
            image.save(folder / f"{i}.png")
    prepare(home / "source", home / "out")
    add = Journal.add

    def add_nine(journal, png, entry):
        if journal.done == 9:
            raise KeyboardInterrupt
        add(journal, png, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "add", add_nine)
        with pytest.raises(KeyboardInterrupt):
            prepare(home / "source", home / "stopped")
    return home


def prepare(source, dest):
    options = {"size": 32, "align": False, "workers": 1, "test_share": 0.25}
    return data_prep.prepare("imagefolder", source, dest, **options)


@campaign(150)
@given(st.data())
def test_damaged_tables(prepared, tmp_path, draw):
    folder = tmp_path / "out"
    shutil.copytree(prepared / "out", folder, dirs_exist_ok=True)
    table = folder / "train" / "metadata.csv"
    if draw.draw(st.booleans()):
        table.write_bytes(draw.draw(damaged(table.read_bytes())))
    else:
        rows = list(csv.reader(io.StringIO(table.read_text())))
        row = draw.draw(st.sampled_from(rows))
        row[draw.draw(st.integers(0, len(row) - 1))] = draw.draw(
            st.one_of(
                st.text(max_size=6), st.integers().map(str), st.floats().map(str),
                st.sampled_from(["../../secret.png", str(tmp_path / "secret.png"), "fear", "."]),
            )
        )  # fmt: skip
        with open(table, "w", newline="") as file:
            csv.writer(file).writerows(rows)
    (tmp_path / "secret.png").write_bytes((prepared / "source" / "fear" / "0.png").read_bytes())
    made = outcome(PreparedFaces, folder, "train", 32, tmp_path / "cache")
    if isinstance(made, PreparedFaces):
        assert {path.parent for path in made.files} <= {table.parent}


@campaign(100)
@given(st.data())
def test_a_damaged_preparation_goes_on_or_says_why_not(prepared, tmp_path, draw):
    kind, name = draw.draw(st.sampled_from([("out", "report.json"), ("stopped", "progress.jsonl")]))
    folder = tmp_path / "out"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared / kind, folder)
    (folder / name).write_bytes(draw.draw(damaged((folder / name).read_bytes())))
    before = contents(folder)
    if isinstance(outcome(prepare, prepared / "source", folder), Exception):
        assert contents(folder) == before
    else:
        assert len(PreparedFaces(folder, "train", 32, tmp_path / "cache")) > 0


# --------------------------------------------------------------------------- hand-ins


@campaign(120)
@given(st.data())
def test_damaged_notebooks(tmp_path, draw):
    notebook = json.loads((ROOT / "notebooks" / "05_losses.ipynb").read_text("utf-8"))
    notebook["cells"] = notebook["cells"][-12:]
    path = tmp_path / "student.ipynb"
    if draw.draw(st.booleans()):
        change(draw, notebook)
        path.write_text(json.dumps(notebook, default=float))
    else:
        path.write_bytes(draw.draw(damaged(json.dumps(notebook).encode())))
    outcome(answers, path)


# --------------------------------------------------------------------------- command lines

COMMANDS = {
    "faces": ["--count 1", "--size 32", "--rho 1", "--variety 1", "--seed 0", "--expression fear"],
    "train": ["--out run", "--profile smoke", "--data nowhere", "--minutes 0", "--seed 1",
              "--steps 3", "--width 2", "--losses paper", "--lambda-gp 1", "--precision float32",
              "--export new", "--resume", "--no-mmarm"],
    "tensorboard": ["nowhere", "--once"],
    "memory": ["--profile smoke", "--width 2", "--batch-size 4"],
    "edit": ["face.png", "fear", "--rho 1", "--out new.png", "--face detect",
             "--model mmagan-64"],
    "evaluate": ["nowhere", "--data nowhere", "--faces 2", "--csv x.csv", "--fast"],
    "ablate": ["--out rows", "--profile smoke", "--rows nothing", "--seeds 0", "--minutes 0"],
    "info": ["nowhere.pt"],
}  # fmt: skip
BRIEFLY = {
    "train": ["--profile", "smoke", "--minutes", "0"],
    "evaluate": ["--faces", "2", "--fast"],
    "ablate": ["--profile", "smoke", "--minutes", "0"],
}  # what is let through must not take hours
JUNK = st.one_of(
    st.text(max_size=6).filter(lambda text: "\0" not in text),
    st.integers(-99, 99).map(str), st.floats().map(str),
    st.sampled_from([
        "-1", "0", "nan", "inf", "1e400", "9" * 23, "9" * 400, "../../evil", "/proc/evil", "\0", "",
        "--", "-h", "--rho", "fear", "smoke", "nowhere.png", "evil.exe", "x.mpg", "x.psd",
        "face.png", "٣",
    ]),
)  # fmt: skip


def run_command(main, arguments, capsys):
    """The exit status of a command line and what it says on stderr, which must be a sentence."""
    try:
        status = main(arguments)
    except SystemExit as exit:
        status = exit.code
    said = capsys.readouterr().err
    if isinstance(status, str):  # a message with which Python would end with status 1
        status, said = 1, status
    if status:
        assert "Traceback" not in said
        last = said.strip().splitlines()[-1]
        assert ": error: " in last or last.startswith("data_prep: ") or check_sentence(said) is None
    return status


@campaign(200)
@given(st.data())
def test_command_line(tmp_path, monkeypatch, capsys, draw):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 48), "teal").save("face.png")
    name = draw.draw(st.sampled_from(sorted(COMMANDS)))
    options = draw.draw(st.permutations(COMMANDS[name]))[: draw.draw(st.integers(1, 4))]
    given_options = (part for option in options for part in option.split())
    arguments = [name, *BRIEFLY.get(name, []), *given_options]
    place = draw.draw(st.integers(1, len(arguments)))
    arguments[place : place + draw.draw(st.integers(0, 1))] = [draw.draw(JUNK)]
    status = run_command(command, arguments, capsys)
    assert status in (None, 0, 2), arguments
    assert not list(tmp_path.parent.glob("evil*"))
    assert not list(tmp_path.rglob(".*.part"))


@campaign(100)
@given(st.data())
def test_command_line_of_data_prep(prepared, tmp_path, monkeypatch, capsys, draw):
    monkeypatch.chdir(tmp_path)
    arguments = ["imagefolder", str(prepared / "source"), "out", "--size", "32", "--no-align",
                 "--workers", "1", "--test-share", "0.2", "--seed", "3"]  # fmt: skip
    place = draw.draw(st.integers(0, len(arguments) - 1))
    arguments[place : place + draw.draw(st.integers(0, 1))] = [draw.draw(JUNK)]
    assert run_command(prepare_command, arguments, capsys) in (None, 0, 1, 2), arguments
