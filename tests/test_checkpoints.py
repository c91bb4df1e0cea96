"""Checkpoints and weights: complete or absent, and never code."""

import errno
import json
import os
import pickle
import resource
import subprocess

import pytest
import torch

from mmagan_lite import checkpoints
from mmagan_lite.checkpoints import export, load, load_pretrained, load_weights, save
from mmagan_lite.config import Config
from mmagan_lite.discriminator import Discriminator
from mmagan_lite.expressions import EXPRESSIONS as NAMES
from mmagan_lite.generator import Generator

SMOKE = Config.profile("smoke")
CONTENTS = {
    "config": SMOKE.to_dict(),
    "progress": {"step": 7},
    "average": {"a": torch.arange(1000.0)},
}


def test_what_was_saved_is_loaded(tmp_path):
    save(tmp_path / "run" / "checkpoint.pt", CONTENTS)
    found = load(tmp_path / "run" / "checkpoint.pt", SMOKE)
    assert found["progress"] == {"step": 7}
    assert found["config"] == SMOKE.to_dict()
    assert torch.equal(found["average"]["a"], CONTENTS["average"]["a"])


def test_a_checkpoint_from_before_a_field_was_there_is_of_its_default(tmp_path):
    older = {key: value for key, value in SMOKE.to_dict().items() if key != "variety"}
    save(tmp_path / "checkpoint.pt", {**CONTENTS, "config": older})
    assert load(tmp_path / "checkpoint.pt", SMOKE)["progress"] == {"step": 7}
    with pytest.raises(ValueError, match=r"variety 1\.0 \(wanted 0\.5\)"):
        load(tmp_path / "checkpoint.pt", SMOKE.replace(variety=0.5))


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_gets_a_sentence(tmp_path, kept):
    path = tmp_path / "checkpoint.pt"
    save(path, CONTENTS)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged or cut short"):
        load(path)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, zipped):
    path, mark = tmp_path / "checkpoint.pt", tmp_path / "exploded"
    contents = {**CONTENTS, "bomb": Bomb(str(mark))}
    if zipped:
        torch.save(contents, path)
    else:
        path.write_bytes(pickle.dumps(contents, protocol=2))
    with pytest.raises(ValueError, match=r"was refused: .* could run code"):
        load(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if zipped else pickle.loads(path.read_bytes())
    assert mark.exists()  # the bomb was a real one


def test_other_things_than_checkpoints_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        load(tmp_path / "checkpoint.pt")
    for other in (torch.zeros(3), {"config": SMOKE.to_dict()}):
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises(ValueError, match="is no checkpoint of a run"):
            load(tmp_path / "other.pt")


def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path):
    save(tmp_path / "checkpoint.pt", CONTENTS)
    with pytest.raises(ValueError, match="another configuration") as caught:
        load(tmp_path / "checkpoint.pt", SMOKE.replace(width=16, seed=3))
    assert "width 8 (wanted 16), seed 0 (wanted 3)" in str(caught.value)
    assert "blocks" not in str(caught.value)


def test_a_file_that_does_not_fit_leaves_the_previous_one(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save(path, CONTENTS)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the system's own refusal
    try:
        with pytest.raises(OSError, match=r"Could not write .* \(File too large\); nothing was"):
            save(path, {**CONTENTS, "weights": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(tmp_path.iterdir()) == [path]
    assert load(path)["progress"] == {"step": 7}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch, failing):
    path = tmp_path / "checkpoint.pt"
    save(path, CONTENTS)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match=r"Could not write .* \(No space left on device\)"):
            save(path, {**CONTENTS, "progress": {"step": 8}})
    assert list(tmp_path.iterdir()) == [path]
    assert load(path)["progress"] == {"step": 7}


# --- weights that ship ---------------------------------------------------------------------------


@pytest.fixture
def weights(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "WEIGHTS", tmp_path)
    return tmp_path


def test_an_exported_generator_comes_back_in_float32_and_eval_mode(weights):
    generator = Generator(SMOKE)
    export(generator, "tiny", config=SMOKE, kind="generator", seed=0, command="a b")
    found = load_pretrained("tiny")
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    state = found.state_dict()
    for key, value in generator.state_dict().items():
        assert state[key].dtype == torch.float32
        torch.testing.assert_close(state[key], value, rtol=2**-11, atol=1e-7)
    x, z = torch.rand(2, 3, 32, 32) * 2 - 1, torch.eye(8)[:2]
    torch.testing.assert_close(found(x, z), generator(x, z), rtol=0, atol=0.01)
    entry = checkpoints.pretrained_models()["tiny"]
    assert (entry["size"], entry["seed"], entry["command"]) == (32, 0, "a b")


def test_shipped_files_are_safetensors_in_half_precision_with_their_sha256(weights):
    path = export(Generator(SMOKE), "tiny", config=SMOKE, kind="generator")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")  # the format's own definition
    header = json.loads(content[8 : 8 + length])
    assert {value["dtype"] for key, value in header.items() if key != "__metadata__"} == {"F16"}
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert checkpoints.pretrained_models()["tiny"]["sha256"] == digest.stdout.split()[0]


def test_counters_keep_their_type(weights):
    norm = torch.nn.BatchNorm2d(4)
    norm.num_batches_tracked.fill_(100_000)  # more than half precision can hold
    export(norm, "norm", config=SMOKE, kind="judge")
    state, entry = load_weights("norm")
    assert state["num_batches_tracked"] == 100_000
    assert state["weight"].dtype == torch.float32
    assert entry["kind"] == "judge"


def test_unknown_names_other_kinds_and_damaged_files_get_a_sentence(weights):
    with pytest.raises(ValueError, match=r"Unknown weights 'x'; the package comes with none\."):
        load_pretrained("x")
    path = export(Generator(SMOKE), "tiny", config=SMOKE, kind="generator")
    export(Discriminator(SMOKE), "critic", config=SMOKE, kind="critic")
    with pytest.raises(ValueError, match=r"the package comes with tiny, critic\."):
        load_pretrained("x")
    with pytest.raises(ValueError, match=r"'critic' is a critic; generators are tiny\."):
        load_pretrained("critic")
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=r"tiny\.safetensors is missing or damaged"):
        load_pretrained("tiny")
    path.unlink()
    with pytest.raises(ValueError, match=r"tiny\.safetensors is missing or damaged"):
        load_pretrained("tiny")


@pytest.mark.parametrize("name", ["../tiny", "a/b", "Tiny", "a b", "tiny.", ""])
def test_a_name_that_is_not_fit_for_a_file_is_refused(weights, name):
    with pytest.raises(ValueError, match="Weights cannot be called"):
        export(Generator(SMOKE), name, config=SMOKE, kind="generator")
    assert list(weights.iterdir()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("tiny.safetensors", "../tiny.safetensors"), ('"kind"', '"sort"'), ("{", "[")],
)
def test_a_manifest_that_is_damaged_or_leads_elsewhere_is_refused(weights, before, after):
    export(Generator(SMOKE), "tiny", config=SMOKE, kind="generator")
    manifest = weights / "manifest.json"
    manifest.write_text(manifest.read_text().replace(before, after))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged; install the package again"):
        load_pretrained("tiny")


def test_weights_of_another_configuration_get_a_sentence(weights):
    export(Generator(SMOKE), "tiny", config=SMOKE.replace(width=16), kind="generator")
    with pytest.raises(ValueError, match="tiny does not hold what its configuration asks for"):
        load_pretrained("tiny")


def test_weights_that_learned_other_expressions_are_refused(weights, monkeypatch, tmp_path):
    """Their shapes fit: without a word, a network would draw contempt where it is asked for awe."""
    export(Generator(SMOKE), "tiny", config=SMOKE, kind="generator")
    run = tmp_path / "checkpoint.pt"
    save(
        run, {"config": SMOKE.to_dict(), "progress": {}, "average": {}, "expressions": list(NAMES)}
    )
    assert load(run)["expressions"] == list(NAMES)
    monkeypatch.setattr(checkpoints, "EXPRESSIONS", (*NAMES[:7], "awe"))
    with pytest.raises(
        ValueError, match=r"tiny has learned other expressions than neutral, .* awe"
    ):
        load_pretrained("tiny")
    with pytest.raises(ValueError, match=r"checkpoint\.pt has learned other expressions than"):
        load(run)
