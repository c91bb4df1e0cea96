"""The command line: what each command leaves behind, and one sentence for what it refuses."""

import dataclasses
import errno
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mmagan_lite as mg
import mmagan_lite.__main__
from mmagan_lite import ablation, checkpoints, evaluation, memory
from mmagan_lite.__main__ import main, parser
from mmagan_lite.config import Config

COMMANDS = ("faces", "train", "tensorboard", "memory", "edit", "evaluate", "ablate", "info")
SMALL = ["--profile", "smoke", "--faces", "16", "--steps", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", *SMALL, "--out", str(folder)]) == 0
    return folder


def refused(capsys, *arguments):
    """The one line on stderr of a command that ends with status 2."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert error.startswith("error: ")
    return error


def test_without_a_command_all_commands_are_shown(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: python -m mmagan_lite {command}" in capsys.readouterr().out


def test_each_field_of_config_is_an_option_of_its_type():
    for field in dataclasses.fields(Config):
        if field.name != "name":
            value = getattr(Config.profile("smoke"), field.name)
            flag = f"--{field.name.replace('_', '-')}"
            given = [flag if value else f"--no-{flag[2:]}"] if field.type is bool else [flag, value]
            args = parser().parse_args(["train", "--out", "x", *map(str, given)])
            assert getattr(args, field.name) == value
            assert type(getattr(args, field.name)) is field.type


# --------------------------------------------------------------------------------------- faces


def test_faces_become_a_sheet(tmp_path):
    sheet = tmp_path / "sheets" / "faces.png"
    assert main(["faces", "--count", "1", "--size", "32", "--out", str(sheet)]) == 0
    width, height = Image.open(sheet).size
    assert width > 5 * height > 0  # eight expressions of one person


def test_faces_become_a_folder_of_the_rendered_pixels(tmp_path):
    options = {"count": 2, "seed": 5, "expression": "anger", "rho": 0.4, "size": 32}
    given = [f"--{name}={value}" for name, value in options.items()]
    assert main(["faces", *given, "--out", str(tmp_path / "some")]) == 0
    names = sorted(path.name for path in (tmp_path / "some").iterdir())
    assert names == ["000005_anger.png", "000006_anger.png"]
    written = np.asarray(Image.open(tmp_path / "some" / names[1]))
    wanted = mg.faces.render(6, "anger", 0.4, size=32)[0].permute(1, 2, 0).mul(255).round()
    assert np.array_equal(written, wanted.numpy().astype(np.uint8))


def test_faces_at_an_impossible_strength_are_refused_and_nothing_is_written(tmp_path, capsys):
    out = tmp_path / "faces"
    assert "rho must be" in refused(capsys, "faces", "--rho", "2", "--out", out)
    assert "not supported" in refused(capsys, "faces", "--count", 1, "--out", tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------------------- train


def test_training_leaves_a_run_that_info_can_tell_about(run, capsys):
    names = {path.name for path in run.iterdir()}
    assert {"checkpoint.pt", "history.csv", "history.png", "samples"} <= names
    capsys.readouterr()
    assert main(["info", str(run / "checkpoint.pt")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["step"] == 2
    assert told["config"] == Config.profile("smoke", faces=16, steps=2).to_dict()


def test_a_run_in_two_parts_equals_one_in_one_go(run, tmp_path):
    out = ["--out", str(tmp_path / "parts")]
    assert main(["train", *SMALL, *out, "--minutes", "0"]) == 0
    assert checkpoints.load(tmp_path / "parts" / "checkpoint.pt")["progress"]["step"] == 0
    assert main(["train", "--resume", *out]) == 0
    parts, whole = (
        checkpoints.load(f / "checkpoint.pt")["average"] for f in (tmp_path / "parts", run)
    )
    assert all(torch.equal(parts[key], whole[key]) for key in whole)


def test_an_exported_run_can_be_loaded_by_name_with_its_figures_and_curves(
    run, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    monkeypatch.setattr(evaluation, "load_judge", lambda size, kind: evaluation.Judge(size).eval())
    monkeypatch.setattr(
        "mmagan_lite.__main__.TEST_FACES", 4
    )  # instead of 512, which is most of the work
    assert main(["train", "--resume", "--out", str(run), "--export", "mine"]) == 0
    model, trained = mg.load_pretrained("mine"), mg.load_model(run)
    for exported, original in zip(model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(exported, original.half().float())
    entry = mg.pretrained_models()["mine"]
    assert entry["figures"]["n"] == 4
    assert entry["images_seen"] == 2 * 4 + 2 * 8  # two steps of 4, two of the warm-up of 8
    curves = pd.read_json(tmp_path / "mine.history.json")
    assert curves["step"].tolist() == [-50, 0]
    assert curves["change"].isna().tolist() == [True, False]


def test_a_folder_that_holds_a_run_is_not_trained_over(run, tmp_path, capsys):
    assert "already holds a run" in refused(capsys, "train", *SMALL, "--out", run)
    assert "has its own" in refused(capsys, "train", "--resume", "--out", run, "--width", 9)
    missing = refused(capsys, "train", "--resume", "--out", tmp_path / "none")
    assert "There is no checkpoint" in missing
    wrong = refused(capsys, "train", *SMALL, "--out", tmp_path / "new", "--data", tmp_path)
    assert "python -m data_prep" in wrong
    assert list(tmp_path.iterdir()) == []


def test_a_value_out_of_its_range_is_refused(tmp_path, capsys):
    error = refused(capsys, "train", "--out", tmp_path, "--variety", "7")
    assert "Config.variety must be from 0 to 1; got 7.0" in error


# ------------------------------------------------------------------------ tensorboard and memory


def test_a_run_is_written_for_tensorboard(run, tmp_path, capsys):
    out = tmp_path / "events"
    assert main(["tensorboard", str(run), "--out", str(out)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"To look at them: tensorboard --logdir {out}",
        f"Wrote 4 steps and 2 pictures to {out}.",
    ]
    (events,) = out.iterdir()
    assert events.stat().st_size > sum(p.stat().st_size for p in run.glob("samples/*.png"))


def test_an_unfinished_run_is_written_as_far_as_it_is(tmp_path, capsys):
    out = tmp_path / "parts"
    assert main(["train", *SMALL, "--out", str(out), "--minutes", "0"]) == 0
    assert "has no step yet" in refused(capsys, "tensorboard", out, "--once")
    mg.Trainer.resume(out, mg.ProceduralFaces("train", 16, 32)).fit(steps=1)
    assert main(["tensorboard", str(out), "--once"]) == 0
    assert "Wrote 3 steps and 1 pictures" in capsys.readouterr().out
    assert len(list((out / "tensorboard").iterdir())) == 1


def test_what_tensorboard_lacks_is_told(run, tmp_path, capsys, monkeypatch):
    assert "There is no folder" in refused(capsys, "tensorboard", tmp_path / "none")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "pip install 'mmagan-lite[tensorboard]'" in refused(capsys, "tensorboard", run)


def test_memory_is_told_by_parts_and_compared_with_a_t4(capsys, monkeypatch):
    assert main(["memory", "--profile", "smoke", "--batch-size", "8"]) == 0
    first, *parts, last = capsys.readouterr().out.splitlines()
    assert first == "smoke: batches of 8 faces of 32 pixels, float32"
    sizes = {line.split()[0]: float(line.split()[1]) for line in parts}
    assert list(sizes) == ["weights", "gradients", "Adam", "average", "activations", "faces"]
    assert last.startswith("together")
    assert last.endswith(" GB, less than the 12 GB of Colab's T4")
    monkeypatch.setattr(memory, "estimate", lambda config: {"a": int(5e9), "b": int(7.5e9)})
    assert main(["memory", "--profile", "paper"]) == 0
    told = capsys.readouterr().out
    assert "\na              5.00 GB\n" in told
    assert told.endswith("together      12.50 GB, more than the 12 GB of Colab's T4\n")
    assert "no CUDA device" in refused(capsys, "memory", "--measure")


# ---------------------------------------------------------------------------- edit and evaluate


def test_a_picture_is_edited_beside_itself_or_where_asked(run, tmp_path, capsys):
    photo = tmp_path / "me.png"
    Image.new("RGB", (50, 50), "teal").save(photo)
    assert main(["edit", str(photo), "fear", "--model", str(run)]) == 0
    out = tmp_path / "new" / "x.jpg"
    assert main(["edit", str(photo), "fear", "--model", str(run), "--out", str(out)]) == 0
    beside = Image.open(tmp_path / "me_fear.png")
    assert beside.size == Image.open(out).size == (50, 50)
    assert Image.open(out).format == "JPEG"
    wanted = mg.edit(photo, "fear", model=mg.editing.load_model(run))
    assert np.array_equal(np.asarray(beside), np.asarray(wanted))


def test_what_cannot_be_edited_gets_a_sentence_and_no_file(run, tmp_path, capsys):
    photo = tmp_path / "me.png"
    Image.new("RGB", (50, 50), "teal").save(photo)
    end = ["--model", run]
    assert "rho must be" in refused(capsys, "edit", photo, "fear", "--rho", "nan", *end)
    found = refused(capsys, "edit", photo, "fear", "--face", "detect", *end)
    assert "No face was found" in found
    missing = refused(capsys, "edit", tmp_path / "you.png", "fear", *end)
    assert "There is no file" in missing
    assert "There is no model" in refused(capsys, "edit", photo, "fear", "--model", "mmagan-1")
    for suffix in (".tx", "", ".mpg", ".psd", ".hdf", ".heic"):
        said = refused(capsys, "edit", photo, "fear", "--out", tmp_path / f"x{suffix}", *end)
        assert "does not end in one of .png, .jpg" in said
    assert "me.png is no checkpoint" in refused(capsys, "edit", photo, "fear", "--model", photo)
    assert [path.name for path in tmp_path.iterdir()] == ["me.png"]


def test_a_picture_that_cannot_be_written_whole_leaves_the_earlier_one(
    run, tmp_path, capsys, monkeypatch
):
    photo, out = tmp_path / "me.png", tmp_path / "out.png"
    Image.new("RGB", (50, 50), "teal").save(photo)
    out.write_bytes(b"an earlier picture")

    def full(image, file, kind):
        file.write(b"half a picture")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    said = refused(capsys, "edit", photo, "fear", "--model", run, "--out", out)
    assert "No space left on device" in said
    assert out.read_bytes() == b"an earlier picture"
    assert {path.name for path in tmp_path.iterdir()} == {"me.png", "out.png"}


def test_where_nothing_can_be_written_is_noticed_before_the_work(
    run, tmp_path, capsys, monkeypatch
):
    def work(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(evaluation, "evaluate", work)
    monkeypatch.setattr(mmagan_lite.__main__, "_training_faces", work)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    for there in ("file/x.csv", "folder.csv"):
        for option in ("--csv", "--markdown"):
            said = refused(capsys, "evaluate", run, "--fast", option, tmp_path / there)
            assert "could not be written" in said
    said = refused(capsys, "train", *SMALL, "--out", tmp_path / "file")
    assert "could not be written" in said
    twice = ["--csv", tmp_path / "x", "--markdown", tmp_path / "x"]
    assert "name two files" in refused(capsys, "evaluate", run, "--fast", *twice)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.csv"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["edit", "me.png", "joy"], "invalid choice: 'joy' (choose from "),
        (["edit", "me.png", "1"], "invalid choice: '1' (choose from "),
        (["faces", "--seed", "-5"], "whole number from 0"),
        (["faces", "--seed", "9" * 23], "whole number from 0"),
        (["faces", "--count", "9" * 26], "whole number from 1 to 1,000,000,000"),
        (["train", "--out", "x", "--minutes", "-5"], "number of minutes from 0"),
        (["train", "--out", "x", "--minutes", "nan"], "number of minutes from 0"),
        (["ablate", "--out", "x", "--minutes", "soon"], "number of minutes from 0"),
    ],
)
def test_arguments_out_of_their_range_are_refused_at_once(
    arguments, sentence, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_of_too_many_people_is_refused(tmp_path, capsys):
    assert "give --out a folder" in refused(
        capsys, "faces", "--count", "101", "--out", tmp_path / "sheet.png"
    )


def test_models_are_measured_in_a_table(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "load_judge", lambda size, kind: evaluation.Judge(size).eval())
    table = tmp_path / "table.csv"
    arguments = ["evaluate", str(run), "--faces", "4", "--csv", str(table)]
    assert main([*arguments, "--markdown", str(tmp_path / "table.md")]) == 0
    printed = capsys.readouterr().out
    rows = pd.read_csv(table, index_col="model")
    assert list(rows.index) == ["copy the input", "ground truth", str(run)]
    assert (rows["n"] == 4).all()
    markdown = (tmp_path / "table.md").read_text()
    for word in (*rows.index, *rows.columns):
        assert word in printed
        assert word in markdown
    assert markdown.splitlines()[1].startswith("|:--")


def test_prepared_pictures_are_measured_without_exact_answers(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "load_judge", lambda size, kind: evaluation.Judge(size).eval())
    (tmp_path / "test").mkdir()
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(6)]})
    table["expression"], table["intensity"], table["subject"] = "anger", "", ""
    table.to_csv(tmp_path / "test" / "metadata.csv", index=False)
    for i, name in enumerate(table["file_name"]):
        Image.new("RGB", (40, 40), (40 * i, 0, 0)).save(tmp_path / "test" / name)
    out = ["--csv", str(tmp_path / "table.csv")]
    assert main(["evaluate", str(run), "--data", str(tmp_path), "--fast", *out]) == 0
    rows = pd.read_csv(tmp_path / "table.csv", index_col="model")
    assert list(rows.index) == ["copy the input", str(run)]
    assert (rows["n"] == 6).all()
    assert "error_removed" not in rows
    none = refused(capsys, "evaluate", run, "--data", tmp_path / "none", "--fast")
    assert "python -m data_prep" in none


# -------------------------------------------------------------------------------------- ablate


ROWS = ["ablate", *SMALL, "--rows", "mmagan", "stargan", "--test-faces", "8"]


@pytest.fixture
def quick(monkeypatch):
    """What measuring needs, and none of it costs anything."""

    class Features(torch.nn.Module):
        def forward(self, pixels):
            return pixels[:, :, ::8, ::8].flatten(1) / 255

    class Distance(torch.nn.Module):
        def forward(self, x, y):
            return (x - y).abs().mean((1, 2, 3))

    def load_judge(size, kind="judge"):
        return evaluation.Judge(size).eval()

    monkeypatch.setattr(evaluation, "load_judge", load_judge)
    monkeypatch.setattr(evaluation, "inception_network", Features)
    monkeypatch.setattr(evaluation, "lpips_network", Distance)


def test_rows_are_trained_in_parts_then_measured_and_shipped(tmp_path, quick, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "rows")]
    assert main([*ROWS, *out, "--minutes", "0"]) == 0
    told = capsys.readouterr().out
    assert f"0 of 2 runs are complete; they lie in {tmp_path / 'rows'}." in told
    assert told.endswith("The same command goes on where this one stopped.\n")
    assert not (tmp_path / "rows" / "results").exists()
    assert main([*ROWS, *out]) == 0
    told = capsys.readouterr().out
    assert "2 of 2 runs are complete" in told
    results = ablation.load_results(tmp_path / "rows" / "results")
    assert list(results["table"].index.get_level_values("row"))[2:] == ["mmagan", "stargan"]
    assert (results["table"]["n"] == 8).all()
    for word in (*results["table"], "copy the input", "ground truth", "mmagan", "stargan"):
        assert word in told
    assert {run["steps"] for run in results["about"]["runs"]} == {2}
    # and with --export, once more, they become the package's:
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(ablation, "RESULTS", tmp_path / "shipped")
    assert main([*ROWS, *out, "--export"]) == 0
    assert f"Wrote the weights to {tmp_path / 'weights'}" in capsys.readouterr().out
    assert list(ablation.load_rows(32)) == ["mmagan", "stargan"]
    shipped = ablation.load_results(tmp_path / "shipped")["table"]
    assert shipped["psnr_truth"].equals(results["table"]["psnr_truth"])


def test_rows_that_are_unknown_or_could_not_be_measured_are_refused_at_once(tmp_path, capsys):
    out = ["--out", str(tmp_path / "rows")]
    with pytest.raises(SystemExit) as end:
        main(["ablate", *SMALL, *out, "--rows", "mmagan", "gan"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "invalid choice: 'gan'" in error
    assert "no-attention" in error
    assert "No judge for faces of 32 pixels" in refused(capsys, *ROWS, *out)
    assert list(tmp_path.iterdir()) == []


def test_info_names_versions_profile_and_weights(capsys):
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    assert f"PyTorch {torch.__version__}" in told
    assert "profile: smoke" in told
    assert all(name in told for name in mg.pretrained_models())
