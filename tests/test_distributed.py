"""Several processes train what one would: real ones, started by torchrun."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch
from test_training import Patterns, rows_on_disk, weights

from mmagan_lite import checkpoints, distributed, losses, training
from mmagan_lite.__main__ import main
from mmagan_lite.baselines import CycleGANCritics
from mmagan_lite.config import Config
from mmagan_lite.data import ProceduralFaces
from mmagan_lite.training import Trainer

ROOT = Path(__file__).resolve().parent.parent
STOPPED = "error: " + distributed.GONE
SIZES = dict(warmup_steps=2, warmup_batch_size=8, batch_size=6)
CONFIGS = {
    "stabilised": {"r1_every": 2},
    "paper": {"losses": "paper", "critic_steps": 2},
    "mixed": {"adversarial": "wgan", "lambda_gp": 10.0, "rho_estimate": "classes"},
    "float16": {"precision": "float16"},
    "StarGAN": {"model": "stargan"},
    "StarGAN, paper": {"model": "stargan", "losses": "paper", "critic_steps": 2},
    "CycleGAN": {"model": "cyclegan", "batch_size": 8},
}


def smoke(**changes):
    return Config.profile("smoke", **{**SIZES, **changes})


class Exact(Patterns):
    """Faces in double precision, half of unknown intensity, that remember which were read."""

    def __init__(self):
        super().__init__()
        self.rho = self.rho.double()
        self.rho[1:30:2] = math.nan
        self.read = []

    def batch(self, indices, device="cpu"):
        self.read.append([int(i) for i in indices])
        batch = super().batch(indices, device)
        return {**batch, "image": batch["image"].double()}


@contextmanager
def severe_conditions():
    """Rounding can hide no mistake, nor Adam make much of it; CycleGAN's pools are full soon."""
    torch.set_default_dtype(torch.float64)
    size, CycleGANCritics.POOL = CycleGANCritics.POOL, 3
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        CycleGANCritics.POOL = size


@cache
def trained(name):
    """What a few steps make of the weights, and which faces they read for it."""
    data = Exact()
    with severe_conditions():
        trainer = Trainer(smoke(**CONFIGS[name]), data)
        del data.read[:]  # those of the sample grid
        trainer.fit()
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.history]
    return {"weights": weights(trainer), "history": history, "read": data.read}


# --- what each of two processes does -------------------------------------------------------------


def scenes(folder, number):
    """All that two processes do together, one after the other, and an error of both at the end."""
    seen = {}
    for name in CONFIGS:
        seen[name] = trained(name)
    seen["parts"] = distributed.mine(torch.arange(8)), distributed.gather(torch.tensor([number, 7]))
    x = torch.tensor([number, 7])
    seen["sum"] = distributed.total(x), distributed.mean(x), x
    seen["dim"] = distributed.mine(torch.arange(8).reshape(2, 4), 1)
    written = []
    sys.addaudithook(lambda event, args: _note_writing(event, args, folder, written))
    with severe_conditions():
        Trainer(smoke(), Exact(), folder / "two, one").fit(steps=2)
        Trainer.resume(folder / "one, two", Exact()).fit()
    seen["limit"] = Trainer(smoke(), Patterns()).fit(minutes=0 if number == 1 else None).step
    seen["interrupt"] = interrupted_in_one(folder / "interrupted", number)
    seen["nan"] = nan_in_one(number)
    seen["odd"] = [refused(**changes) for changes in INDIVISIBLE]
    seen["written"] = written.copy()
    seen["renderings"] = renderings(folder / "cache")
    torch.save(seen, folder / f"{number}.pt")
    Trainer(smoke(lr_critic=1e20), Patterns(), folder / "diverging").fit()


INDIVISIBLE = (
    {"batch_size": 5},
    {"warmup_batch_size": 7},
    {"model": "cyclegan", "batch_size": 6},
    {"warmup": False, "warmup_batch_size": 7},
)


def _note_writing(event, args, folder, written):
    if event == "open" and str(args[0]).startswith(str(folder)):
        if args[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(str(args[0]))


def interrupted_in_one(folder, number):
    """Ctrl-C reaches the second process only, while it is in its third step."""
    trainer = Trainer(smoke(), Patterns(), folder)
    learn = trainer.train_critic

    def interrupted(*args):
        if trainer.step == 2 and number == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(*args)

    trainer.train_critic = interrupted
    try:
        trainer.fit()
    except KeyboardInterrupt:
        return trainer.step
    return None


def nan_in_one(number):
    reconstruction = losses.reconstruction
    if number == 1:
        losses.reconstruction = lambda x, y: reconstruction(x, y) * math.nan
    try:
        Trainer(smoke(), Patterns()).fit()
    except FloatingPointError as error:
        return str(error)
    finally:
        losses.reconstruction = reconstruction
    return None


def refused(**changes):
    try:
        Trainer(smoke(**changes), Patterns())
    except ValueError as error:
        return str(error)
    return None


def renderings(cache):
    """How often this process made the file, when both need it at the same time."""
    made, write = [], ProceduralFaces._write
    ProceduralFaces._write = lambda *args: made.append(1) or write(*args)
    distributed.anyone(False)  # they begin together
    faces = ProceduralFaces("train", 64, 32, cache=cache)
    assert faces.pixels(range(64)).any((1, 2, 3)).all()
    return len(made)


def long_run(folder, number):
    """A run with a checkpoint after every step, until one of its processes is killed."""
    training.CHECKPOINT_MINUTES = 0
    (folder / f"{number}.pid").write_text(str(os.getpid()))
    Trainer(LONG, Patterns(), folder / "run").fit()


LONG = smoke(steps=100_000, warmup_steps=2)


# --- the tests -----------------------------------------------------------------------------------


@contextmanager
def torchrun(*arguments, **environment):
    """Two processes of a command; whatever happens, they do not outlive the test."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    run = subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield run
    finally:
        run.terminate()  # torchrun ends the processes that it started
        run.communicate()


def ended(run, seconds=150):
    """Exit status, stdout and stderr of a run."""
    out, err = run.communicate(timeout=seconds)
    return run.returncode, out, err


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of the two processes saw, and where they wrote."""
    folder = tmp_path_factory.mktemp("two")
    with severe_conditions():
        Trainer(smoke(), Exact(), folder / "one, two").fit(steps=2)
    with torchrun(__file__, "scenes", folder) as run:
        status, _, err = ended(run)
    (folder / "said").write_text(f"{status}\n{err}")
    assert (folder / "1.pt").exists(), err
    return folder, *(torch.load(folder / f"{number}.pt") for number in (0, 1))


def assert_close(some, others, **tolerance):
    assert some.keys() == others.keys()
    for key, value in some.items():
        torch.testing.assert_close(value, others[key], **tolerance, msg=f"{key}: {{}}".format)


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_train_what_one_does_on_the_same_batches(name, two):
    _, first, second = two
    whole = trained(name)
    half = CONFIGS[name].get("precision") == "float16"
    close = dict(rtol=0, atol=1e-4) if half else dict(rtol=1e-7, atol=1e-9)
    assert_close(first[name]["weights"], whole["weights"], **close)
    assert_close(first[name]["weights"], second[name]["weights"], rtol=0, atol=0)
    for row, same, expected in zip(
        first[name]["history"], second[name]["history"], whole["history"], strict=True
    ):
        assert row == same
        assert row == pytest.approx(expected, rel=1e-2 if half else 1e-5, abs=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_face_of_a_batch_is_read_by_one_process(name, two):
    _, first, second = two
    whole = trained(name)["read"]
    assert len(whole) >= 4
    pairs = list(zip(first[name]["read"], second[name]["read"], strict=True))
    assert all(len(some) == len(others) for some, others in pairs)
    assert [sorted(some + others) for some, others in pairs] == [sorted(batch) for batch in whole]


def test_parts_are_dealt_like_cards_and_gathered_in_the_same_order(two):
    _, first, second = two
    assert [seen["parts"][0].tolist() for seen in (first, second)] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert first["parts"][1].tolist() == second["parts"][1].tolist() == [0, 1, 7, 7]
    assert first["dim"].tolist() == [[0, 2], [4, 6]]
    assert second["dim"].tolist() == [[1, 3], [5, 7]]


def test_sums_and_means_are_of_all_processes_and_leave_what_was_given_alone(two):
    _, first, second = two
    for seen, x in ((first, [0, 7]), (second, [1, 7])):
        assert [value.tolist() for value in seen["sum"]] == [[1, 14], [0.5, 7], x]


def test_one_process_gets_back_what_it_gives():
    x = torch.rand(3, 2)
    assert distributed.total(x) is x
    for function in (distributed.mine, distributed.gather, distributed.mean):
        assert torch.equal(function(x), x)
    assert [distributed.anyone(flag) for flag in ([], [True])] == [False, True]
    assert (distributed.processes(), distributed.rank()) == (1, 0)
    with distributed.started() as first:
        assert first


def test_only_the_first_process_writes(two):
    folder, first, second = two
    assert second["written"] == []
    assert str(folder / "two, one" / "history.csv") in first["written"]
    assert sorted(path.name for path in (folder / "two, one").iterdir()) == [
        "checkpoint.pt",
        "history.csv",
        "samples",
    ]


@pytest.mark.parametrize("name", ["two, one", "one, two"])
def test_a_run_goes_on_with_another_number_of_processes(name, two):
    folder, *_ = two
    with severe_conditions():
        resumed = Trainer.resume(folder / name, Exact())
        assert resumed.step == (2 if name == "two, one" else 4)
        resumed.fit()
        whole = Trainer(smoke(), Exact()).fit()
    assert_close(weights(resumed), weights(whole), rtol=1e-7, atol=1e-9)
    assert [row["step"] for row in rows_on_disk(folder / name)] == [-1, 0, 1, 2, 3, 4]
    for row, expected in zip(rows_on_disk(folder / name), whole.history, strict=True):
        assert row == pytest.approx({**expected, "seconds": row["seconds"]}, rel=1e-5, abs=1e-6)


def test_the_first_limit_or_ctrl_c_of_any_process_stops_all_after_the_same_step(two):
    folder, first, second = two
    assert (first["limit"], second["limit"]) == (0, 0)
    assert (first["interrupt"], second["interrupt"]) == (3, 3)
    assert Trainer.resume(folder / "interrupted", Patterns()).step == 3


def test_a_loss_that_is_no_number_in_one_process_stops_all_with_the_same_sentence(two):
    _, first, second = two
    assert first["nan"].startswith("Training diverged: generator_rec is nan at step 1")
    assert first["nan"] == second["nan"]


def test_batches_that_cannot_be_shared_are_refused(two):
    _, first, second = two
    *sentences, accepted = first["odd"]
    names = ("batch_size", "warmup_batch_size", "Half of batch_size")
    for sentence, name, count in zip(sentences, names, (5, 7, 3), strict=True):
        assert sentence == (
            f"{name} must be divisible by the number of processes, 2, which share the batch; "
            f"got {count}."
        )
    assert accepted is None
    assert second["odd"] == first["odd"]


def test_faces_are_rendered_by_one_process_while_the_other_waits(two):
    folder, first, second = two
    assert first["renderings"] + second["renderings"] == 1
    assert len(list((folder / "cache").iterdir())) == 1


COMMAND = ["train", "--profile", "smoke", "--faces", "16", "--steps", "3", "--out"]


def test_the_command_line_trains_in_two_processes_and_says_everything_once(tmp_path, capsys):
    with torchrun("-m", "mmagan_lite", *COMMAND, tmp_path / "two", TQDM_DISABLE="") as run:
        status, out, err = ended(run)
    assert status == 0, err
    config, done = out.splitlines()
    assert json.loads(config)["steps"] == 3
    assert done == f"3 of 3 steps are done; the run lies in {tmp_path / 'two'}."
    assert len(re.findall(r"5/5 \[", err)) == 1  # one bar; two steps are the warm-up's
    assert main([*COMMAND, str(tmp_path / "one")]) == 0
    two, one = (rows_on_disk(tmp_path / name) for name in ("two", "one"))
    for row, expected in zip(two, one, strict=True):  # rounded to float32, and so after each step
        assert row == pytest.approx({**expected, "seconds": row["seconds"]}, rel=0.02, abs=0.002)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }


def test_an_error_of_all_processes_is_said_once(two):
    folder, *_ = two
    status, err = (folder / "said").read_text().split("\n", 1)
    assert status != "0"
    (sentence,) = re.findall("^error: .*", err, re.MULTILINE)
    assert sentence.startswith("error: Training diverged: ")
    assert checkpoints.load(folder / "diverging" / "checkpoint.pt")["progress"]["step"] == 0


ENDS = {"the first": (0, signal.SIGKILL), "the second": (1, signal.SIGKILL),
        "all from outside": ("torchrun", signal.SIGTERM)}  # fmt: skip


@pytest.mark.parametrize(("who", "how"), ENDS.values(), ids=ENDS)
def test_a_killed_process_ends_the_job_with_a_sentence_and_a_checkpoint(who, how, tmp_path):
    with torchrun(__file__, "long_run", tmp_path) as run:
        history, patience = tmp_path / "run" / "history.csv", time.monotonic() + 120
        while not history.exists() or history.read_text().count("\n") < 8:
            assert run.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.01)
        (tmp_path / "torchrun.pid").write_text(str(run.pid))
        os.kill(int((tmp_path / f"{who}.pid").read_text()), how)
        killed = time.monotonic()
        status, _, err = ended(run, 40)
    assert time.monotonic() - killed < 20
    assert status != 0
    assert re.findall("^error: .*", err, re.MULTILINE) == [STOPPED]
    resumed = Trainer.resume(tmp_path / "run", Patterns())
    assert len(resumed.history) >= 6
    assert resumed.fit(steps=1).step == len(rows_on_disk(tmp_path / "run")) - 2


if __name__ == "__main__":  # one of the processes
    torch.use_deterministic_algorithms(True)
    with distributed.started():
        globals()[sys.argv[1]](Path(sys.argv[2]), distributed.rank())
