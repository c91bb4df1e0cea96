"""Exercises of notebook 02: the generator and the global residual."""

import torch
from torch import Tensor

from mmagan_lite.exercises.room import exercise


@exercise("02", "Lay the code z beside the image, the same at every pixel.")
def tile_code(x: Tensor, z: Tensor) -> Tensor:
    """Image (B, 3, H, W) and code (B, N) as (B, 3 + N, H, W)."""
    maps = z[:, :, None, None].expand(-1, -1, *x.shape[2:])  # (B, N, H, W)
    return torch.cat([x, maps], 1)


tile_code.worked.append(
    (
        (torch.tensor([[[[5.0, 6.0]]]]), torch.tensor([[1.0, 2.0]])),
        torch.tensor([[[[5.0, 6.0]], [[1.0, 1.0]], [[2.0, 2.0]]]]),
    )
)


@tile_code.case
def _two_pictures_that_are_not_square():
    random = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, 4, 6, generator=random), torch.rand(2, 8, generator=random)


@tile_code.case
def _one_picture():
    return torch.arange(12.0).view(1, 3, 2, 2), torch.arange(4.0).view(1, 4) / 4


@tile_code.use_oracle
def _pixel_by_pixel(x, z):
    rows = [
        [[torch.cat([x[b, :, i, j], z[b]]) for j in range(x.shape[3])] for i in range(x.shape[2])]
        for b in range(len(x))
    ]
    return torch.stack([torch.stack([torch.stack(r, 1) for r in image], 1) for image in rows])


@tile_code.misconception(
    "puts the code before the image",
    "the first three channels are the colours; the code comes after them.",
)
def _code_first(x, z):
    return torch.cat([z[:, :, None, None].expand(-1, -1, *x.shape[2:]), x], 1)


@tile_code.misconception(
    "gives all pictures the code of the first",
    "each picture of the batch has a code of its own; look at what you index.",
)
def _first_code_for_all(x, z):
    return torch.cat([x, z[:1, :, None, None].expand(len(x), -1, *x.shape[2:])], 1)


@tile_code.misconception(
    "writes the code into one pixel only and leaves zeros elsewhere",
    "a convolution sees only a small neighbourhood, so the code must be at every pixel.",
)
def _one_pixel(x, z):
    maps = x.new_zeros(len(x), z.shape[1], *x.shape[2:])
    maps[:, :, 0, 0] = z
    return torch.cat([x, maps], 1)


@tile_code.misconception(
    "joins image and code along the rows instead of the channels",
    "dimension 1 of (B, C, H, W) holds the channels.",
)
def _along_rows(x, z):
    maps = z[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, maps[:, : x.shape[1]]], 2)


@tile_code.installs
def _into_the_generator(model, answer):
    forward = type(model).forward

    def with_answer(x, z, return_attention=False):
        tiled = answer(x, z)  # (B, 3 + N, H, W): what the encoder sees
        hook = model.encoder.register_forward_pre_hook(lambda module, inputs: (tiled,))
        try:
            return forward(model, x, z, return_attention)
        finally:
            hook.remove()

    model.forward = with_answer
