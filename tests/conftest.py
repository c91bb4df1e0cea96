"""What every test stands on: one CPU thread, the smoke profile, its own cache, a working Ctrl-C."""

import multiprocessing.forkserver
import os
import signal
import sys
from pathlib import Path

# A GPU is hidden from all tests but those in test_cuda.py, which therefore run on their own.
ON_GPU = any("test_cuda" in argument for argument in sys.argv)
if not ON_GPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "MMAGAN_PROFILE": "smoke",
    "MPLBACKEND": "agg",
    "TQDM_DISABLE": "1",
}  # before PyTorch is imported

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(not ON_GPU)
    # A shell that starts the tests in the background lets them ignore Ctrl-C, which some press.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    os.environ["MMAGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def _own_fork_server():
    """One that another file has started has imported what that file needs, and no more."""
    multiprocessing.forkserver._forkserver._stop()


@pytest.fixture(autouse=True)
def _same_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def london():
    """Photographs of the Face Research Lab London Set, where they lie beside the checkout."""
    folder = ROOT.parent / "shared" / "london"
    if not folder.is_dir():
        pytest.skip("the London photographs are not there: ../shared/london")
    return folder
