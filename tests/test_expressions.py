"""The code z: worked cases, its inverse, and what it refuses."""

import numpy as np
import pytest
import torch

from mmagan_lite.expressions import EXPRESSIONS, decode, encode


def test_the_order_is_affectnets():
    assert EXPRESSIONS == (
        "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
    )  # fmt: skip


def test_one_expression_is_a_scaled_unit_vector():
    assert encode("anger", 0.5).tolist() == [0, 0, 0, 0, 0, 0, 0.5, 0]


def test_neutral_and_zero_intensity_are_the_same_point():
    assert not encode("neutral", 1.0).any()
    assert not encode("fear", 0.0).any()


@pytest.mark.parametrize(
    "batch",
    [
        ["happiness", "neutral", "fear"], [1, 0, 4], np.array([1, 0, 4]), torch.tensor([1, 0, 4]),
        torch.tensor([1, 0, 4], dtype=torch.uint8),
    ],
)  # fmt: skip
def test_batches_of_names_labels_and_tensors_agree(batch):
    z = encode(batch, torch.tensor([0.25, 0.5, 1.0]))
    expected = torch.zeros(3, 8)
    expected[0, 1], expected[2, 4] = 0.25, 1.0
    assert torch.equal(z, expected)


@pytest.mark.parametrize("one", ["fear", 4, np.int64(4), np.array(4), torch.tensor(4)])
def test_one_expression_in_any_form(one):
    assert encode(one, 1.0).tolist() == [0, 0, 0, 0, 1, 0, 0, 0]


def test_one_expression_at_many_intensities():
    z = encode("surprise", torch.tensor([0.0, 1.0]))
    assert z.shape == (2, 8)
    assert z[1, 3] == 1
    assert z.sum() == 1


def test_decode_inverts_encode():
    label, rho = torch.tensor([0, 3, 7, 5]), torch.tensor([0.0, 0.3, 1.0, 0.2])
    found, strength = decode(encode(label, rho))
    assert torch.equal(found, label)
    assert torch.equal(strength, rho)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("joy", 1), "Unknown expression 'joy'; expected one of neutral"),
        ((8, 1), "Unknown expression 8"),
        ((-1, 1), "Unknown expression -1"),
        ((True, 1), "Unknown expression True"),
        ((torch.tensor([0, 9]), 1), "Unknown expression 9"),
        ((torch.tensor([0, 8]), 1), "Unknown expression 8"),
        ((torch.tensor(-1), 1), "Unknown expression -1"),
        ((torch.tensor([0.5]), 1), "whole labels"),
        ((torch.tensor([True]), 1), "whole labels"),
        ((torch.ones(2, 2).long(), 1), r"whole labels .* of shape \(2, 2\)"),
        (("fear", 1.01), "from 0 .* to 1 .*; got 1.01"),
        (("fear", -0.1), "got -0.1"),
        (("fear", float("nan")), "got nan"),
        (("fear", "much"), "rho must be a number"),
        ((["fear", "anger"], torch.rand(2, 8)), r"one per image; got shape \(2, 8\)"),
        ((["fear", "anger"], torch.rand(3)), "2 expressions but 3 values"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        encode(*arguments)
    assert "\n" not in str(caught.value)
