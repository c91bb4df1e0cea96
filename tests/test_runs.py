"""Runs read while they are written, against the finished files and TensorBoard's reader."""

import io
import re
import shutil
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmagan_lite.config import Config
from mmagan_lite.data import ProceduralFaces
from mmagan_lite.runs import Run, to_tensorboard
from mmagan_lite.training import COLUMNS, Trainer

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def trainer(folder):
    return Trainer(Config.profile("smoke", r1_every=2), ProceduralFaces("train", 16, 32), folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return trainer(tmp_path_factory.mktemp("runs") / "first").fit()


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of a complete run, to damage."""
    return shutil.copytree(trained.folder, tmp_path / "first")


def finished(path):
    return pd.read_csv(path / "history.csv")


def line(step):
    return f"{step},{step / 2}" + f",{step * 0.1:.3f}" * (len(COLUMNS) - 2) + "\n"


HEADER = ",".join(COLUMNS) + "\n"


def test_a_complete_run_is_read_as_the_trainer_knows_it(trained):
    run = Run(trained.folder)
    assert run.rows.to_dict("list").keys() == set(COLUMNS)
    for row, known in zip(run.rows.to_dict("records"), trained.history, strict=True):
        assert {key: value for key, value in row.items() if not np.isnan(value)} == known
    assert (run.step, run.done, run.problem) == (4, True, None)
    assert run.config == trained.config
    assert not run.refresh()
    assert list(run.samples()) == [1, 2, 3, 4]
    step, picture = run.newest_sample()
    assert step == 4
    assert np.array_equal(picture, trained.sample_grid())


def test_a_run_is_done_only_with_its_last_checkpoint(tmp_path):
    part = trainer(tmp_path / "run").fit(steps=3)
    run = Run(part.folder)
    assert (run.step, run.done) == (3, False)
    part.fit()
    assert run.refresh()
    assert (run.step, run.done) == (4, True)


def test_a_run_that_ends_during_a_look_at_it_is_not_done_without_its_last_rows(
    tmp_path, monkeypatch
):
    part = trainer(tmp_path / "run").fit(steps=3)
    run = Run(part.folder)
    for name in ("_read_history", "_read_checkpoint"):
        read = getattr(run, name)
        monkeypatch.setattr(run, name, lambda read=read: (read(), part.fit())[0])
    run.refresh()
    assert run.step == 4 or not run.done
    run.refresh()
    assert (run.step, run.done) == (4, True)


def test_lines_count_when_they_are_whole(tmp_path):
    run = Run(tmp_path)
    content = (HEADER + "".join(map(line, range(-1, 4)))).encode()
    with open(tmp_path / "history.csv", "wb", buffering=0) as file:
        for end in range(len(content)):
            file.write(content[end : end + 1])
            grew = run.refresh()
            whole = max(0, content[: end + 1].count(b"\n") - 1)
            assert len(run.rows) == whole
            assert grew == (whole > 0 and content[end : end + 1] == b"\n")
            assert (run.problem is None) == (whole > 0)
    assert run.rewritten == 0
    pd.testing.assert_frame_equal(run.rows, finished(tmp_path))


@pytest.mark.parametrize("grown", [0, 1, 3, 30], ids=lambda n: f"{n} new lines")
def test_a_history_that_was_rewritten_is_read_again(tmp_path, grown):
    path = tmp_path / "history.csv"
    path.write_text(HEADER + "".join(map(line, range(1, 8))))
    run = Run(tmp_path)
    # Resumed from step 4: the same steps again, at other times.
    again = [
        line(step).replace(f",{step / 2},", f",{step / 2 + 9},") for step in range(5, 5 + grown)
    ]
    path.write_text(HEADER + "".join([*map(line, range(1, 5)), *again]))
    assert run.refresh()
    pd.testing.assert_frame_equal(run.rows, finished(tmp_path))
    assert run.rewritten == 1


def test_a_run_that_was_resumed_is_followed_into_the_second_attempt(tmp_path):
    part = trainer(tmp_path / "run").fit(steps=1)
    shutil.copy(part.folder / "checkpoint.pt", tmp_path)
    part.fit(steps=2)
    run = Run(part.folder)
    assert run.step == 3
    shutil.copy(tmp_path / "checkpoint.pt", part.folder)  # as if the later one was never written
    resumed = Trainer.resume(part.folder, ProceduralFaces("train", 16, 32))
    run.refresh()
    assert run.step == 1
    assert list(run.samples()) == [1]  # those of the first attempt are from another future
    resumed.fit()
    run.refresh()
    assert run.done
    pd.testing.assert_frame_equal(run.rows, finished(part.folder), check_dtype=False)


NO_STEP = "run/history.csv has no step yet."
NO_HISTORY = "run/history.csv is no history of a trainer: it lacks step or seconds."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no history.csv in run yet; a trainer writes it."),
        ("", NO_STEP),
        ("step,sec", NO_STEP),
        (HEADER, NO_STEP),
        (HEADER + "1,2", NO_STEP),
        ("a,b\n1,2\n", NO_HISTORY),
        ("\0\0\0\n", NO_HISTORY),
    ],
)
def test_what_is_missing_is_told_in_a_sentence(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    run = Run("run")
    assert run.problem == "There is no folder run yet; a trainer writes it."
    assert not run.refresh()
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "history.csv").write_text(content)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        to_tensorboard("run")
    monkeypatch.chdir("/")
    run.refresh()
    assert (run.problem, run.step, run.newest_sample(), run.samples()) == (sentence, 0, None, {})


def test_a_history_that_cannot_be_read_or_goes_away_is_told(folder):
    run = Run(folder)
    (folder / "history.csv").unlink()
    assert run.refresh()
    assert run.problem == f"There is no history.csv in {folder} yet; a trainer writes it."
    assert len(run.rows) == 0
    (folder / "history.csv").mkdir()
    run.refresh()
    assert run.problem == f"{folder}/history.csv cannot be read: Is a directory."


def test_lines_that_are_no_numbers_are_left_out(tmp_path):
    bad = ["\0\0\0\0\n", "x,y,z\n", '"12,3\n', line(3).replace("\n", ",7,8\n"), "\n", "\xff,1\n"]
    lines = [line(1), *bad, line(2)]
    (tmp_path / "history.csv").write_bytes((HEADER + "".join(lines)).encode("latin-1"))
    assert Run(tmp_path).rows["step"].tolist() == [1, 2]


def test_damaged_checkpoints_and_pictures_are_passed_over(folder):
    for name in ("samples/000004.png", "checkpoint.pt"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (9, 9)).save(folder / "samples" / "notes.png")
    run = Run(folder)
    assert (run.config, run.done, run.step) == (None, False, 4)
    assert run.newest_sample()[0] == 3
    (folder / "checkpoint.pt").write_bytes(whole)
    run.refresh()
    assert run.done


# --------------------------------------------------------------------------------- TensorBoard


def read_back(out):
    """Scalars and pictures by TensorBoard's own reader."""
    reader = accumulator.EventAccumulator(str(out), {"scalars": 0, "images": 0, "tensors": 0})
    reader.Reload()
    tags = reader.Tags()
    scalars = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in tags["scalars"]}
    pictures = {tag: {e.step: e.encoded_image_string for e in reader.Images(tag)}
                for tag in tags["images"]}  # fmt: skip
    return reader, scalars, pictures


def assert_equal_to_the_run(out, path):
    _, scalars, pictures = read_back(out)
    table = finished(path).set_index("step").drop(columns="seconds").dropna(axis=1, how="all")
    assert scalars.keys() == {name.replace("_", "/", 1) for name in table}
    for name, column in table.items():
        steps, values = zip(*scalars[name.replace("_", "/", 1)], strict=True)
        assert list(steps) == column.dropna().index.tolist()
        assert np.allclose(values, column.dropna(), rtol=1e-6)
    files = {int(file.stem): file for file in path.glob("samples/*.png")}
    assert pictures.keys() == {"samples"}
    assert pictures["samples"].keys() == files.keys()
    for step, file in files.items():
        shown = np.asarray(Image.open(io.BytesIO(pictures["samples"][step])))
        assert np.array_equal(shown, np.asarray(Image.open(file)))


def test_event_files_hold_the_run_once_however_often_they_are_written(folder):
    out = folder / "tensorboard"
    out.mkdir()
    (out / "events.out.tfevents.1.elsewhere").write_bytes(b"")
    for _ in range(2):
        assert to_tensorboard(folder) == (6, 4)  # two steps of the warm-up, four of training
        names = sorted(path.name for path in out.iterdir())
        assert len(names) == 2
        assert "events.out.tfevents.1.elsewhere" in names
        assert_equal_to_the_run(out, folder)


def test_event_files_tell_time_in_training_and_the_configuration(folder):
    to_tensorboard(folder)
    reader, _, _ = read_back(folder / "tensorboard")
    seconds = finished(folder).set_index("step")["seconds"]
    events = reader.Scalars("accuracy/real")
    assert [e.step for e in events] == list(seconds.index)
    assert np.allclose(np.diff([e.wall_time for e in events]), np.diff(seconds), atol=1e-4)
    text = reader.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "image_size: 32" in text
    assert "precision: 'float32'" in text


def test_a_run_is_followed_to_its_end(tmp_path):
    out, results = tmp_path / "events", []
    part = trainer(tmp_path / "run").fit(steps=1)

    def follow():
        results.append(to_tensorboard(part.folder, out, follow=True, seconds=0.01))

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(3):
        time.sleep(0.05)
        assert thread.is_alive()
        part.fit(steps=1)
    thread.join(20)
    assert results == [(6, 4)]
    assert_equal_to_the_run(out, part.folder)


def test_what_a_resumed_run_takes_back_is_taken_back(tmp_path):
    part = trainer(tmp_path / "run").fit(steps=1)
    shutil.copy(part.folder / "checkpoint.pt", tmp_path)
    part.fit(steps=2)
    out = tmp_path / "events"
    thread = threading.Thread(
        target=lambda: to_tensorboard(part.folder, out, follow=True, seconds=0.01)
    )
    thread.start()
    time.sleep(0.1)
    shutil.copy(tmp_path / "checkpoint.pt", part.folder)
    Trainer.resume(part.folder, ProceduralFaces("train", 16, 32)).fit()
    thread.join(20)
    assert_equal_to_the_run(out, part.folder)


def test_without_tensorboard_a_sentence_says_how_to_get_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mmagan-lite\[tensorboard\]'"):
        to_tensorboard(folder)
    assert not (folder / "tensorboard").exists()


def test_a_look_at_a_long_run_costs_little(tmp_path):
    (tmp_path / "history.csv").write_text(HEADER + "".join(map(line, range(1, 50_001))))
    run = Run(tmp_path)
    with open(tmp_path / "history.csv", "a") as file:
        file.write(line(50_001))
    started = time.thread_time()
    assert run.refresh()
    assert time.thread_time() - started < 0.1  # reading all takes several times as long
    assert run.step == 50_001
