"""The same code on a GPU; skipped where there is none. Run on its own: conftest.py says why."""

import math

import pytest
import torch

import mmagan_lite as mg
from mmagan_lite import memory
from mmagan_lite.cuda import ResidentFaces

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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_step_trains_as_one_that_python_launches(precision):
    sizes = {"image_size": 64, "steps": 24, "r1_every": 4, "warmup": False}
    config = mg.Config.profile("smoke", precision=precision, **sizes)
    data = mg.ProceduralFaces("train", 64, 64)
    recorded, launched = (mg.Trainer(config, data, device="cuda") for _ in range(2))
    launched.play = launched._play
    for trainer in (recorded, launched):
        trainer.fit()
    assert recorded.play.works
    assert len(recorded.play.graphs) == 2  # with the penalty and without it
    # Sums whose order is not fixed differ in the last bits, and training magnifies that.
    tolerance = 0.05 if precision == "float32" else 0.2
    for one, other in zip(recorded.history, launched.history, strict=True):
        assert one.keys() == other.keys()
        for term in ("generator_rec", "critic_cls", "critic_info", "change"):
            assert one[term] == pytest.approx(other[term], rel=tolerance, abs=tolerance / 10)


def test_faces_that_live_on_the_device_make_the_same_batches():
    data = mg.ProceduralFaces("train", 64, 32)
    resident = ResidentFaces(data, torch.device("cuda"))
    assert len(resident) == 64
    there, here = resident.batch([5, 63, 5]), data.batch([5, 63, 5])
    assert there.keys() == here.keys()
    for key, value in here.items():
        assert there[key].device.type == "cuda"
        # A device may divide by 127.5 with another last bit.
        torch.testing.assert_close(there[key].cpu(), value, rtol=0, atol=2e-7, equal_nan=True)


def test_a_run_moves_between_devices(tmp_path):
    config = mg.Config.profile("smoke")
    data = mg.ProceduralFaces("train", 16, 32)
    mg.Trainer(config, data, tmp_path, device="cuda").fit(steps=1)
    mg.Trainer.resume(tmp_path, data, device="cpu").fit(steps=1)
    trainer = mg.Trainer.resume(tmp_path, data, device="cuda").fit()
    assert trainer.step == config.steps
    rate = trainer.generator_optimiser.param_groups[0]["lr"]
    assert float(rate) == pytest.approx(config.lr_generator * 2 * (1 - 3 / 4))


def test_a_model_edits_alike_on_both():
    model = mg.load_pretrained("mmagan-64")
    x = 2 * mg.faces.render(torch.arange(4), "neutral", size=64) - 1
    z = mg.encode(["happiness", "anger", "fear", "surprise"], 1.0)
    with torch.inference_mode():
        cpu = model(x, z)
        gpu = model.cuda()(x.cuda(), z.cuda()).cpu()
    assert (cpu - gpu).abs().max() < 0.02


def test_measured_memory_holds_at_least_what_stays():
    config = mg.Config.profile("smoke")
    counted = memory.estimate(config)
    measured = memory.measure(config)
    stays = counted["weights"] + counted["Adam"] + counted["average"] + counted["faces"]
    assert stays <= measured["allocated"] <= measured["reserved"]
