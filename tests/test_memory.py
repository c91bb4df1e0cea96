"""The counted memory against PyTorch's record of its allocator, and the system's of the process."""

import gc
import subprocess
import sys

import pytest
import torch

from mmagan_lite import memory
from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.training import Trainer


def small(**changes):
    return Config.profile("smoke", **{"image_size": 64, "batch_size": 12, **changes})


def steps(trainer):
    """A penalised step without Adam's means, and one with them; for CycleGAN all pairs."""
    for step in range(7) if trainer.config.model == "cyclegan" else (0, trainer.config.r1_every):
        trainer.step = step
        trainer.train_step()


def allocated(config):
    """The most bytes that PyTorch's allocator had given out, by its profiler."""
    gc.collect()  # what an earlier test left would be freed in this record, and count against it
    faces = memory.Noise(64, config.image_size)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        steps(Trainer(config, faces))
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 3},
        {"losses": "paper", "critic_steps": 2},
        {"precision": "bfloat16"},
        {"model": "stargan"},
        {"model": "cyclegan"},
        {"critic_width": 64},  # weights take more than activations
    ],
    ids=str,
)
def test_the_count_is_what_the_allocator_gave_out(changes):
    if "precision" in changes and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16: PyTorch takes more memory to do without")
    config = small(**changes, warmup_batch_size=1)
    counted = memory.estimate(config)
    faces = counted.pop("faces")
    assert sum(counted.values()) == pytest.approx(allocated(config), rel=0.1)
    assert faces == config.faces * 3 * 64 * 64


PROCESS = """
import sys
import torch
torch.set_num_threads(1)
from mmagan_lite.config import Config
from mmagan_lite.memory import Noise
from mmagan_lite.training import Trainer

def train(profile, *steps):
    config = Config.profile(profile, batch_size=32)
    trainer = Trainer(config, Noise(64, config.image_size))
    for trainer.step in steps:
        trainer.train_step()

train("smoke", 0)  # libraries load what they need
before = int(open("/proc/self/statm").read().split()[1]) * 4096
train("laptop", 0, 8)
(most,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(most) * 1024 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_takes_at_most_half_as_much_again():
    run = subprocess.run(
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True
    )
    counted = memory.estimate(Config.profile("laptop", batch_size=32))
    expected = sum(counted.values()) - counted["faces"]
    assert 0.9 * expected < int(run.stdout) < 1.6 * expected


def test_what_stays_is_counted_from_the_weights():
    config = small(mmarm=False, global_residual=False)
    counted = memory.estimate(config)
    generator, critic = (sum(p.numel() for p in part.parameters()) for part in networks(config))
    assert counted["average"] == 4 * generator
    assert counted["weights"] == counted["gradients"] == 4 * (generator + critic)
    assert counted["Adam"] == 8 * (generator + critic)


def test_a_warm_up_with_large_batches_counts():
    counted = [memory.estimate(small(warmup_batch_size=n))["activations"] for n in (1, 12, 2000)]
    assert counted[0] == counted[1] < counted[2] / 5
    without = memory.estimate(small(warmup_batch_size=2000, warmup=False))["activations"]
    assert without == counted[0]


def test_tensors_are_counted_once_as_long_as_they_live():
    with memory.Counter() as counter:
        x = torch.zeros(1000)  # 4000 bytes
        view, same = x.view(10, 100), x.add_(1)
        assert (counter.now, counter.most) == (4000, 4000)
        y = x + 1
        del x, view
        assert counter.now == 8000
        del same
        assert (counter.now, counter.most) == (4000, 8000)
        z = y.double()
        assert (counter.now, counter.most) == (12000, 12000)
        del y, z
    assert counter.now == 0


def test_counting_leaves_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    memory.estimate(small(batch_size=2))
    assert torch.equal(torch.rand(3), expected)


def test_without_cuda_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match=r"no CUDA device.*estimate\(config\)"):
        memory.measure(small())
