"""The same code on a GPU; skipped where there is none."""

import math

import pytest
import torch

import mmagan_lite as mg

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_faces_are_the_same_within_one_8_bit_step():
    people, label = torch.arange(16), torch.arange(16) % 8
    cpu = mg.faces.render(people, label, 0.7, nuisance=3, occlusion=0.3)
    gpu = mg.faces.render(people, label, 0.7, nuisance=3, occlusion=0.3, device="cuda")
    assert gpu.device.type == "cuda"
    assert (gpu.cpu() - cpu).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("losses", ["stabilised", "paper"])
def test_a_run_trains_and_resumes(tmp_path, losses):
    config = mg.Config.profile("smoke", losses=losses)
    data = mg.ProceduralFaces("train", 16, 32)
    mg.Trainer(config, data, tmp_path, device="cuda").fit(steps=2)
    trainer = mg.Trainer.resume(tmp_path, data, device="cuda").fit()
    assert trainer.step == config.steps
    assert all(math.isfinite(value) for row in trainer.history for value in row.values())


def test_a_model_edits_alike_on_both():
    model = mg.load_pretrained("mmagan-64")
    x = 2 * mg.faces.render(torch.arange(4), "neutral", size=64) - 1
    z = mg.encode(["happiness", "anger", "fear", "surprise"], 1.0)
    with torch.inference_mode():
        cpu = model(x, z)
        gpu = model.cuda()(x.cuda(), z.cuda()).cpu()
    assert (cpu - gpu).abs().max() < 0.02
