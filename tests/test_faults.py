"""A campaign of bad input: whatever comes in, a sentence of ours comes out and nothing is harmed.

Hypothesis makes up the input, the same every time. What is let through may succeed; what is refused
must be refused by a `raise` of this project, in one sentence, without a half-written file. Some of
the files would create CANARY if anything in them were run.
"""

import io
import json
import linecache
import math
import pickle
import shutil
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data as skimage_data

import data_prep
import mmagan_lite as mg
from data_prep.__main__ import main as prepare_command
from mmagan_lite import ablation, checkpoints, detection, runs
from mmagan_lite.__main__ import main as command
from mmagan_lite.config import Config
from mmagan_lite.data import PreparedFaces, ProceduralFaces
from mmagan_lite.exercises.mark import answers
from mmagan_lite.training import COLUMNS, Trainer

OURS = tuple(str(Path(package.__file__).parent) for package in (mg, data_prep))
PROMISED = (ValueError, TypeError, OSError, FloatingPointError, MemoryError)
SMALL = Config.profile(
    "smoke", image_size=32, width=2, blocks=1, critic_width=2, batch_size=2, steps=3,
    warmup_steps=1, warmup_batch_size=2, faces=8,
)  # fmt: skip


def campaign(count):
    """So many inputs, the same in every run."""
    return settings(
        max_examples=count, derandomize=True, database=None, deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip


def check_sentence(text):
    assert "\n" not in text.strip(), text
    assert len(text.split()) >= 5, text
    assert text.rstrip()[-1] in ".)?", text


def outcome(call, *args, **kwargs):
    """What a call returns, or the error with which it was refused, if that is as promised."""
    try:
        return call(*args, **kwargs)
    except PROMISED as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = linecache.getline(last.filename, last.lineno).strip()
        assert last.filename.startswith(OURS), f"raised by {last.filename}: {error}"
        assert line.startswith("raise"), f"not refused but failed at `{line}`: {error}"
        check_sentence(str(error))
        return error


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@st.composite
def damaged(draw, content):
    """Bytes with a piece cut off, left out, repeated, overwritten or put in."""
    place = draw(st.integers(0, len(content)))
    length = draw(st.integers(1, 64))
    return draw(
        st.sampled_from([
            content[:place],
            content[place:],
            content[:place] + content[place + length :],
            content[: place + length] + content[place:],
            content[:place] + bytes(length) + content[place + length :],
            content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:],
            content[:place] + bytes(b ^ 255 for b in content[place : place + 1])
            + content[place + 1 :],
        ])
    )  # fmt: skip


NUMBERS = st.one_of(
    st.integers(-3, 12), st.integers(), st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, np.float64(0.5), np.int64(3)]),
)  # fmt: skip
ANYTHING = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.text(max_size=8), st.binary(max_size=8), st.complex_numbers(),
    st.lists(st.integers(-2, 9), max_size=3), st.dictionaries(st.text(max_size=4), st.integers(0, 3), max_size=2),
    st.sampled_from([*mg.EXPRESSIONS, object(), torch.zeros(3), torch.zeros(1, 1), torch.tensor(7),
                     torch.tensor([True]), torch.tensor(float("nan")), torch.tensor([1, 99]),
                     np.zeros(3), np.zeros((1, 1)), np.array("fear"), np.datetime64("2020-01-01"),
                     {"1": 2}, {12: 0.5}, {"2R": math.nan}, [["fear"]], "../../fear", range(3), "", "\0"]),
)  # fmt: skip


# --------------------------------------------------------------------------- values


@campaign(400)
@given(ANYTHING, ANYTHING)
def test_codes(expression, rho):
    z = outcome(mg.encode, expression, rho)
    if isinstance(z, torch.Tensor):
        assert z.shape[-1] == 8
        assert ((z >= 0) & (z <= 1)).all()


@campaign(400)
@given(st.fixed_dictionaries({}, optional={
    "identity": ANYTHING, "expression": ANYTHING, "rho": ANYTHING, "nuisance": ANYTHING,
    "size": ANYTHING, "variety": ANYTHING, "occlusion": ANYTHING,
}))  # fmt: skip
def test_drawn_faces(given_values):
    values = {"identity": 1, "expression": "fear", "size": 32, **given_values}
    image = outcome(mg.faces.render, **values)
    if isinstance(image, torch.Tensor):
        assert ((image >= 0) & (image <= 1)).all()


FIELDS = sorted(SMALL.to_dict())


@campaign(400)
@given(st.dictionaries(st.sampled_from([*FIELDS, "widht", ""]), ANYTHING, min_size=1, max_size=3))
def test_configurations(fields):
    named = fields.pop("name", "smoke")
    for config in (outcome(Config.profile, named, **fields), outcome(SMALL.replace, **fields)):
        if isinstance(config, Config):
            assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@campaign(100)
@given(st.fixed_dictionaries({}, optional={
    "split": ANYTHING, "faces": ANYTHING.filter(lambda n: not (isinstance(n, int) and n > 12)),
    "variety": ANYTHING, "seed": ANYTHING, "label_noise": ANYTHING, "occlusion": ANYTHING, "size": ANYTHING,
}))  # fmt: skip
def test_sets_of_drawn_faces(tmp_path, values):
    before = contents(tmp_path)
    made = outcome(ProceduralFaces, **{"faces": 2, "size": 32, "cache": tmp_path, **values})
    if isinstance(made, Exception):
        assert contents(tmp_path) == before
