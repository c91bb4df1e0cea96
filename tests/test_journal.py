"""Runs that are stopped by a kill, a full disk or a dead worker, and what they hold in memory."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from folders import contents, london_like, rows
from PIL import Image

from data_prep import Record, prepare
from data_prep.__main__ import main
from data_prep.journal import Journal, Lock
from data_prep.picture import Job
from data_prep.workers import prepare_all

# ----------------------------------------------------------------------------------- stopping


def test_a_run_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    prepare("london", source, tmp_path / "whole", align=False)

    add, calls = Journal.add, []

    def add_until_killed(journal, crop, entry):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(entry)
        add(journal, crop, entry)

    monkeypatch.setattr(Journal, "add", add_until_killed)
    with pytest.raises(KeyboardInterrupt):
        prepare("london", source, out, align=False)
    monkeypatch.undo()
    assert sum(len(rows(out, s.name)) for s in out.iterdir() if s.is_dir()) == 7
    assert not (out / "report.json").exists()
    with (out / "progress.jsonl").open("a") as journal:
        journal.write('{"source": "torn')  # as a kill in the middle of a line leaves it
    (out / "train" / "half.png.partial").write_bytes(b"half a picture")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.png")}

    prepare("london", source, out, align=False)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # none is redone
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_leaves_nothing_half_written_and_the_run_can_go_on(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    replace, calls = os.replace, []

    def full_after_nine(old, new):
        calls.append(new)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(os, "replace", full_after_nine)
    with pytest.raises(SystemExit, match=r"out: No space left on device; free some space and run"):
        main(["london", str(source), str(out), "--no-align", "--workers", "1"])
    monkeypatch.undo()
    assert not list(out.rglob("*.partial"))
    for path in out.glob("*/*.png"):
        Image.open(path).load()
    for path in out.glob("*/metadata.csv"):
        assert all((path.parent / row["file_name"]).exists() for row in rows(out, path.parent.name))
    assert prepare("london", source, out, align=False)["used"] == 20


def test_a_disk_that_fills_up_in_the_middle_of_a_note_is_told_as_such(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    add = Journal.add

    def add_until_full(journal, crop, entry):
        if journal.done == 5:
            journal.file.write('{"source": "to')
            journal.file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")
        add(journal, crop, entry)

    monkeypatch.setattr(Journal, "add", add_until_full)
    with pytest.raises(OSError, match="No space left on device"):
        prepare("london", source, out, align=False)
    monkeypatch.undo()
    assert prepare("london", source, out, align=False)["used"] == 20


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_after_a_real_kill_nothing_is_lost_or_done_again_and_no_process_stays(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "happy").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for i in range(250):
        Image.fromarray(np.roll(noise, i)).save(source / "happy" / f"{i:03}.bmp")
    command = [sys.executable, "-m", "data_prep", "imagefolder", source, out, "--no-align"]
    process = subprocess.Popen([*command, "--workers", "2"], start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    journal = out / "progress.jsonl"
    wait_until(lambda: len(list(out.glob("*/*.png"))) > 40)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not alive(process.pid))

    noted = journal.read_bytes().count(b"\n") - 1
    assert 40 <= noted < 250
    whole = {path: path.stat().st_mtime_ns for path in out.glob("*/*.png")}
    assert noted <= len(whole) <= noted + 1  # the last may lie there without a note
    report = prepare("imagefolder", source, out, align=False)
    again = [path for path, time in whole.items() if path.stat().st_mtime_ns != time]
    assert len(again) == len(whole) - noted
    assert report["used"] == 250
    prepare("imagefolder", source, tmp_path / "undisturbed", align=False)
    assert contents(out) == contents(tmp_path / "undisturbed")


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def alive(group):
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Deadly:
    """Ends the process that unpickles it, as the system does when memory runs out."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_worker_that_dies_is_told_in_one_sentence(tmp_path):
    record = Record(path=Deadly(), expression="fear", native_label="f")
    job = Job(record, 0, "train", "by picture", tmp_path, 128, False, False)
    with pytest.raises(ChildProcessError, match=r"memory ran out.*fewer workers than 2"):
        list(prepare_all(iter([job] * 3), 2))


def test_a_source_that_changed_in_between_is_not_mixed_up(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    add = Journal.add

    def add_until_killed(journal, png, entry):
        if journal.done == 5:
            raise KeyboardInterrupt
        add(journal, png, entry)

    monkeypatch.setattr(Journal, "add", add_until_killed)
    with pytest.raises(KeyboardInterrupt):
        prepare("london", source, out, align=False)
    monkeypatch.undo()
    (source / "neutral_front" / "002_03.jpg").rename(source / "neutral_front" / "099_03.jpg")
    with pytest.raises(ValueError, match=r"has changed .* neutral_front/002_03.jpg was there"):
        prepare("london", source, out, align=False)


def stopped_after(monkeypatch, pictures, source, out):
    """A run that ends when so many pictures are noted."""
    add = Journal.add

    def add_until_killed(journal, png, entry):
        if journal.done == pictures:
            raise KeyboardInterrupt
        add(journal, png, entry)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "add", add_until_killed)
        with pytest.raises(KeyboardInterrupt):
            prepare("london", source, out, align=False)


def test_what_a_kill_at_the_very_start_leaves_is_not_in_the_way(tmp_path):
    source, out = london_like(tmp_path / "in", people=2), tmp_path / "out"
    prepare("london", source, tmp_path / "alone", align=False)
    out.mkdir()
    (out / "progress.jsonl.partial").write_text('{"lay')
    (out / Lock.NAME).touch()
    prepare("london", source, out, align=False)
    assert contents(out) == contents(tmp_path / "alone")


def test_what_a_kill_at_the_very_end_leaves_goes_with_the_next_run(tmp_path):
    source, out = london_like(tmp_path / "in", people=2), tmp_path / "out"
    report = prepare("london", source, out, align=False)
    before = contents(out)
    (out / "progress.jsonl").write_text("{}\n")
    (out / Lock.NAME).touch()
    assert prepare("london", source, out, align=False) == report
    assert contents(out) == before


def test_a_source_that_grew_is_told_as_such(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in", people=2), tmp_path / "out"
    stopped_after(monkeypatch, 2, source, out)
    Image.new("RGB", (20, 20)).save(source / "smiling_front" / "900_08.jpg")
    with pytest.raises(ValueError, match=r"in has changed since .* 4 pictures .*, now 5; prepare"):
        prepare("london", source, out, align=False)


def test_a_crop_that_is_gone_is_told_as_such(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in", people=2), tmp_path / "out"
    stopped_after(monkeypatch, 2, source, out)
    next(out.glob("*/*.png")).unlink()
    with pytest.raises(ValueError, match=r"\.png was written and is gone; delete \S+/out and"):
        prepare("london", source, out, align=False)


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", "null", "\xff"])
@pytest.mark.parametrize("name", ["report.json", "progress.jsonl", "a line"])
def test_damaged_notes_are_told_in_one_sentence(tmp_path, monkeypatch, name, text):
    source, out = london_like(tmp_path / "in", people=2), tmp_path / "out"
    stopped_after(monkeypatch, 2, source, out)
    if name == "a line":
        lines = (out / "progress.jsonl").read_text().splitlines()
        text = "\n".join([lines[0], text, lines[2], ""])
        name = "progress.jsonl"
    (out / name).write_bytes(text.encode("latin-1"))
    arguments = ["london", str(source), str(out), "--no-align", "--workers", "1"]
    options_differ = name == "progress.jsonl" and text == '{"a": 1}'
    sentence = "other options" if options_differ else rf"{name} is damaged; delete \S+ and prepare"
    with pytest.raises(SystemExit, match=sentence):
        main(arguments)


INTERRUPTED = """
import multiprocessing.forkserver, os, signal
from data_prep.workers import fresh_processes
with fresh_processes(1) as pool:
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGINT)
    print(pool.submit(abs, -1).result())
    assert multiprocessing.forkserver._forkserver._forkserver_pid == server  # not another one
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forkserver")
def test_an_interrupt_while_the_workers_start_is_for_the_parent_alone():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


# ----------------------------------------------------------------------------------- two runs


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(tmp_path, monkeypatch):
    source, out = london_like(tmp_path / "in"), tmp_path / "out"
    prepare("london", source, tmp_path / "alone", align=False)
    add = Journal.add

    def add_beside_another_run(journal, png, entry):
        with monkeypatch.context() as other:
            other.setattr(Journal, "add", add)
            with pytest.raises(ValueError, match=r"Another run is writing to .* choose another"):
                prepare("london", source, out, align=False)
        add(journal, png, entry)

    monkeypatch.setattr(Journal, "add", add_beside_another_run)
    prepare("london", source, out, align=False)
    assert contents(out) == contents(tmp_path / "alone")


HOLD = """
import sys, time
from pathlib import Path
from data_prep.journal import Journal
journal = Journal(Path(sys.argv[1]), {})
print("held", flush=True)
time.sleep(60)
"""


def test_the_hold_on_a_folder_ends_with_its_process(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=-1)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match="Another run"):
        Journal(tmp_path / "out", {})
    holder.kill()
    holder.communicate()
    with Journal(tmp_path / "out", {}) as journal:
        assert journal.done == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["progress.jsonl"]


def test_a_hold_on_a_deleted_file_is_none(tmp_path, monkeypatch):
    """The other run ends, and deletes its file, between our opening it and our locking it."""
    first, seen = Lock(tmp_path), []
    taken = Lock._taken

    def after_the_other_ended(lock):
        seen.append(lock)
        first.release()
        return taken(lock)

    monkeypatch.setattr(Lock, "_taken", after_the_other_ended)
    with pytest.raises(ValueError, match="Another run"):
        Lock(tmp_path)
    monkeypatch.undo()
    Lock(tmp_path).release()
    assert (len(seen), list(tmp_path.iterdir())) == (1, [])


# ------------------------------------------------------------------------------------- memory


MEASURE = """
import resource, sys
from data_prep import prepare
for folder in sys.argv[1:]:
    prepare("imagefolder", folder, folder + "-out", align=False)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no module resource")
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    for name, files in (("few", 100), ("many", 1000)):
        (tmp_path / name / "happy").mkdir(parents=True)
        for i in range(files):
            os.link(tmp_path / "noise.png", tmp_path / name / "happy" / f"{i}.png")
    folders = [str(tmp_path / name) for name in ("few", "many")]
    script = [sys.executable, "-c", MEASURE, *folders]
    shown = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    few, many = (int(line.split()[1]) for line in shown.splitlines() if line.startswith("peak"))
    unit = 1024 if sys.platform == "darwin" else 1
    assert (many - few) / unit < 8 * 1024  # KiB; the crops alone would take 44 MB
    assert many < 1.1 * few


def test_several_workers_hold_few_results_at_a_time(tmp_path):
    """Asked for one result, they take no more jobs than they need to stay busy."""
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16), "red").save(path)
    taken = []

    def jobs():
        for i in range(200):
            taken.append(i)
            record = Record(path=path, expression="fear", native_label="f")
            yield Job(record, i, "train", "by picture", Path(tmp_path), 16, False, False)

    results = prepare_all(jobs(), 2)
    assert next(results)[1]["file_name"] == "a-000000.png"
    assert len(taken) <= 8
    names = [entry["file_name"] for _, entry in results]
    assert names == [f"a-{i:06}.png" for i in range(1, 200)]
