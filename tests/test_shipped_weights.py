"""The weights that ship do what their manifest says, offline."""

import pytest

from mmagan_lite.checkpoints import WEIGHTS, load_pretrained, load_weights, pretrained_models
from mmagan_lite.data import ProceduralFaces
from mmagan_lite.evaluation import JUDGES, evaluate, load_judge, read, rho_sweep

MODELS = pretrained_models()


@pytest.fixture(scope="module", params=[64, 128])
def faces(request):
    """The people that the manifest's figures were measured on."""
    return ProceduralFaces("test", 512, request.param)


def test_all_of_them_fit_into_40_megabytes():
    assert {"mmagan-64", "mmagan-128", "judge-64", "judge-128"} <= MODELS.keys()
    named = {entry["file"] for entry in MODELS.values()} | {"manifest.json"}
    curves = {f"{name}.history.json" for name in MODELS}
    assert named <= {path.name for path in WEIGHTS.iterdir()} <= named | curves
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < 40e6


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_says_how_it_was_made(name):
    _, entry = load_weights(name)  # checks the sha256
    told = {"command", "seed", "data", "images_seen", "device", "figures"}
    assert all(entry[key] not in ("", {}) for key in told)


def test_the_generator_reproduces_its_figures(faces):
    name = f"mmagan-{faces.size}"
    measured = evaluate({name: load_pretrained(name)}, faces, perceptual=False)
    figures = MODELS[name]["figures"]
    for column, tolerance in {"accuracy": 0.01, "error_removed": 0.003, "psnr_truth": 0.05}.items():
        assert abs(measured.loc[name, column] - figures[column]) <= tolerance, column


@pytest.mark.parametrize("kind", JUDGES)
def test_the_judges_reproduce_their_figures(faces, kind):
    name = f"{kind}-{faces.size}"
    if name not in MODELS:
        pytest.skip(f"{name} does not ship")
    table = read(load_judge(faces.size, kind), faces)
    figures = MODELS[name]["figures"]
    right = table["read"] == table["expression"]
    assert abs(right.mean() - figures["accuracy"]) <= 0.01
    assert right[table["rho"] >= 0.66].mean() >= 0.95  # the faces are legible
    assert abs((table["rho"] - table["rho_read"]).abs().mean() - figures["rho_error"]) <= 0.005


def test_the_edit_grows_with_rho_at_every_step(faces):
    some = ProceduralFaces("test", 96, faces.size)
    sweep = rho_sweep(load_pretrained(f"mmagan-{faces.size}"), some, steps=5)
    assert (sweep["rho_read"].diff().iloc[1:] > 0).all()
    assert (sweep["change"].diff().iloc[1:] > 0).all()
