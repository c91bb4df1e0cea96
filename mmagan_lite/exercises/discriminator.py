"""Exercises of notebook 04: the discriminator."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmagan_lite.exercises.room import exercise, with_weights_of

CLASSES = 8

# --- the side of a patch --------------------------------------------------------------------------


@exercise("04", "Compute the side of the patch that one cell sees through a stack of convolutions.")
def receptive_field(layers: list[tuple[int, int]]) -> int:
    """Side in pixels; `layers` holds (kernel, stride) from the image on."""
    patch = step = 1
    for kernel, stride in layers:
        patch += (kernel - 1) * step
        step *= stride
    return patch


receptive_field.worked.append((([(4, 2), (4, 2), (3, 1)],), torch.tensor(18)))
receptive_field.worked.append((([(3, 1), (3, 1)],), torch.tensor(5)))


@receptive_field.case
def _ours_at_64_pixels():
    return ([(4, 2), (4, 2), (4, 2), (3, 1)],)


@receptive_field.case
def _cyclegan():
    return ([(4, 2), (4, 2), (4, 2), (4, 1), (4, 1)],)


@receptive_field.case
def _strides_of_all_sizes():
    return ([(7, 1), (3, 2), (2, 3), (5, 1)],)


@receptive_field.use_oracle
def _by_gradient(layers):
    """Count the pixels of a long row of zeros that move the cell in its middle."""
    row = torch.zeros(1, 1, 401, dtype=torch.float64, requires_grad=True)
    cells = row
    for kernel, stride in layers:
        weight = torch.ones(1, 1, kernel, dtype=torch.float64)
        cells = F.conv1d(cells, weight, stride=stride)
    (gradient,) = torch.autograd.grad(cells[0, 0, cells.shape[2] // 2], row)
    return torch.tensor(int((gradient != 0).sum()))


@receptive_field.misconception(
    "adds the whole kernel instead of one cell less",
    "one of the kernel's cells is already covered by the patch that you have.",
)
def _whole_kernel(layers):
    patch = step = 1
    for kernel, stride in layers:
        patch, step = patch + kernel * step, step * stride
    return patch


@receptive_field.misconception(
    "counts every further cell as one pixel",
    "behind a stride of 2, two neighbouring cells lie 2 pixels apart in the image.",
)
def _no_step(layers):
    return 1 + sum(kernel - 1 for kernel, _ in layers)


@receptive_field.misconception(
    "lets a layer's own stride stretch its own kernel",
    "a kernel lies on the layer's input. Which step do the cells of the input have?",
)
def _stride_first(layers):
    patch = step = 1
    for kernel, stride in layers:
        step *= stride
        patch += (kernel - 1) * step
    return patch


@receptive_field.misconception(
    "adds up the strides",
    "two layers of stride 2 leave every fourth pixel; three leave every eighth.",
)
def _strides_added(layers):
    patch, step = 1, 1
    for kernel, stride in layers:
        patch += (kernel - 1) * step
        step += stride - 1
    return patch


@receptive_field.misconception(
    "starts from a patch of 0",
    "with no layer at all, a cell is a pixel and sees itself.",
)
def _from_zero(layers):
    return receptive_field.reference(layers) - 1


# --- the side of the map --------------------------------------------------------------------------


@exercise("04", "Compute the side of the map behind a stack of convolutions.")
def patch_map_size(size: int, layers: list[tuple[int, int, int]]) -> int:
    """Side in cells for an image of `size` pixels; layers of (kernel, stride, padding)."""
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride + 1
    return size


patch_map_size.worked.append(((32, [(4, 2, 1), (4, 2, 1), (3, 1, 1)]), torch.tensor(8)))
patch_map_size.worked.append(((2, [(2, 1, 0)]), torch.tensor(1)))


@patch_map_size.case
def _ours_at_128_pixels():
    return 128, [(4, 2, 1)] * 4 + [(3, 1, 1)]


@patch_map_size.case
def _cyclegan_at_256_pixels():
    return 256, [(4, 2, 1)] * 3 + [(4, 1, 1)] * 2


@patch_map_size.case
def _a_side_that_does_not_divide():
    return 46, [(3, 2, 0), (5, 3, 2), (2, 1, 0)]


@patch_map_size.case
def _half_a_step_left_over():
    return 46, [(3, 2, 0)]


@patch_map_size.use_oracle
def _by_convolving(size, layers):
    cells = torch.zeros(1, 1, size, size)
    for kernel, stride, padding in layers:
        cells = F.conv2d(cells, torch.ones(1, 1, kernel, kernel), stride=stride, padding=padding)
    return torch.tensor(cells.shape[3])


@patch_map_size.misconception(
    "pads one side only",
    "the zeros are laid around the picture, on the left and on the right.",
)
def _one_sided(size, layers):
    for kernel, stride, padding in layers:
        size = (size + padding - kernel) // stride + 1
    return size


@patch_map_size.misconception(
    "counts the moves of the kernel, not the places where it lies",
    "a kernel that cannot move at all still gives one cell.",
)
def _moves(size, layers):
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride
    return size


@patch_map_size.misconception(
    "only divides by the strides",
    "that is right where padding makes up for the kernel; a kernel of 4, stride 1 and padding 1 "
    "loses a cell.",
)
def _only_strides(size, layers):
    for _, stride, _ in layers:
        size //= stride
    return size


@patch_map_size.misconception(
    "rounds up where the stride does not divide",
    "a kernel that would hang over the edge is not laid down.",
)
def _rounds_up(size, layers):
    for kernel, stride, padding in layers:
        size = -(-(size + 2 * padding - kernel) // stride) + 1
    return size


@patch_map_size.misconception(
    "leaves the padding out",
    "each layer sees its input with a frame of zeros around it.",
)
def _no_padding(size, layers):
    for kernel, stride, _ in layers:
        size = (size - kernel) // stride + 1
    return size


# --- who sees a pixel -----------------------------------------------------------------------------


@exercise("04", "List the scores of one row of the map that see a pixel.")
def affected_scores(pixel: int, first: int, step: int, patch: int, cells: int) -> list[int]:
    """Numbers of the scores whose patch holds the pixel.

    Score 0 sees `patch` pixels from pixel `first` on, score 1 starts `step` pixels later, and
    so on; there are `cells` scores.
    """
    return [i for i in range(cells) if 0 <= pixel - (first + i * step) < patch]


affected_scores.worked.append(((0, -15, 8, 38, 8), torch.tensor([0, 1]).unbind()))
affected_scores.worked.append(((32, -15, 8, 38, 8), torch.tensor([2, 3, 4, 5]).unbind()))


@affected_scores.case
def _the_last_pixel():
    return 63, -15, 8, 38, 8


@affected_scores.case
def _on_the_edge_of_a_patch():
    return 23, -15, 8, 38, 8


@affected_scores.case
def _the_first_pixel_of_a_patch():
    return 33, -15, 8, 38, 8


@affected_scores.case
def _a_patch_that_has_no_overlap():
    return 11, 0, 4, 4, 5


@affected_scores.use_oracle
def _by_a_flash(pixel, first, step, patch, cells):
    """Light one pixel of a dark row and see which sums over patches notice."""
    row = torch.zeros(1, 1, 400, dtype=torch.float64)
    row[0, 0, 100 + pixel] = 1
    seen = F.conv1d(row, torch.ones(1, 1, patch, dtype=torch.float64))[0, 0]
    sums = seen[100 + first : 100 + first + cells * step : step]
    return sums.nonzero().flatten().unbind()


@affected_scores.misconception(
    "lets a patch begin at its score's own cell",
    "padding and overlap let score 0 begin before the picture does: at pixel `first`.",
)
def _begins_at_the_cell(pixel, first, step, patch, cells):
    return affected_scores.reference(pixel, 0, step, patch, cells)


@affected_scores.misconception(
    "counts one pixel too many at the end of a patch",
    "a patch of 38 pixels that starts at 0 ends at 37.",
)
def _one_too_many(pixel, first, step, patch, cells):
    return affected_scores.reference(pixel, first, step, patch + 1, cells)


@affected_scores.misconception(
    "names only the cell in which the pixel lies",
    "patches overlap as soon as they are larger than the step.",
)
def _only_its_cell(pixel, first, step, patch, cells):
    return [pixel // step]


@affected_scores.misconception(
    "names scores beyond the border of the map",
    "there is no score with a negative number, and none from `cells` on.",
)
def _beyond_the_border(pixel, first, step, patch, cells):
    return [i for i in range(-cells, 2 * cells) if 0 <= pixel - first - i * step < patch]


@affected_scores.misconception(
    "moves on by a whole patch from score to score",
    "which of the arguments says by how much score 1 starts later than score 0?",
)
def _whole_patches(pixel, first, step, patch, cells):
    return affected_scores.reference(pixel, first, patch, patch, cells)


# --- the three heads ------------------------------------------------------------------------------


@exercise("04", "Write the forward pass of the critic's three heads.")
class Heads(nn.Module):
    """From features (B, C, 8, 8) to scores (B, 1, 8, 8), logits and coordinates (B, 8)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.src = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.deep = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.01),
            nn.Conv2d(2 * channels, 4 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.01),
        )
        self.cls = nn.Conv2d(4 * channels, CLASSES, 2, bias=False)
        self.cor = nn.Conv2d(4 * channels, CLASSES, 2, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, logits, coordinates."""
        face = self.deep(features)  # (B, 4 C, 2, 2)
        return self.src(features), self.cls(face).flatten(1), self.cor(face).flatten(1)


@Heads.runs
def _run_heads(answer, features, seed):
    """The answer with the weights of ours; those of the worked case if there is no seed."""
    theirs = answer(features.shape[1])
    if theirs is None:
        return None
    torch.manual_seed(seed or 0)
    ours = Heads.reference(features.shape[1])
    if seed is None:
        with torch.no_grad():
            for weight in ours.parameters():
                weight.fill_(1.0 if weight.dim() > 1 else 0.0)  # kernels of ones, biases of zeros
            ours.cls.weight.mul_(torch.arange(8.0)[:, None, None, None])
            ours.cor.weight.mul_(-1)
    with torch.no_grad():
        return with_weights_of(ours, theirs)(features)


def _a_lit_corner() -> Tensor:
    features = torch.zeros(1, 1, 8, 8)
    features[0, 0, 0, 0] = 1
    return features


def _expected_corner() -> tuple[Tensor, Tensor, Tensor]:
    """The flash is seen by 2x2 scores; by 2 and then 4 channels of one cell on the way down."""
    src = torch.zeros(1, 1, 8, 8)
    src[0, 0, :2, :2] = 1
    return src, 8 * torch.arange(8.0)[None], torch.full((1, 8), -8.0)


Heads.worked.append(((_a_lit_corner(), None), _expected_corner()))


@Heads.case
def _three_faces():
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)), 1


@Heads.case
def _one_face():
    return 2 * torch.randn(1, 6, 8, 8, generator=torch.Generator().manual_seed(2)), 2


@Heads.use_oracle
def _as_matrices(features, seed):
    """Every convolution as a matrix times unfolded patches, in float64."""
    torch.manual_seed(seed or 0)
    ours = Heads.reference(features.shape[1]).double()

    def convolve(x, layer):
        kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
        patches = F.unfold(x, kernel, padding=padding, stride=stride)  # (B, C k k, cells)
        y = layer.weight.flatten(1) @ patches
        y = y if layer.bias is None else y + layer.bias[:, None]
        side = math.isqrt(y.shape[2])
        return y.unflatten(2, (side, side))

    with torch.no_grad():
        face = features = features.double()
        for layer in (ours.deep[0], ours.deep[2]):
            face = convolve(face, layer)
            face = torch.where(face > 0, face, 0.01 * face)
        return (
            convolve(features, ours.src),
            convolve(face, ours.cls)[:, :, 0, 0],
            convolve(face, ours.cor)[:, :, 0, 0],
        )


@Heads.misconception(
    "averages the map of scores to one number",
    "the average belongs to the loss; the head returns the whole map.",
)
class _AveragesScores(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src.mean((1, 2, 3)), cls, cor


@Heads.misconception(
    "puts the scores through a sigmoid",
    "equation (1) and the hinge compare unbounded scores.",
)
class _SquashesScores(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src.sigmoid(), cls, cor


@Heads.misconception(
    "returns probabilities instead of logits",
    "cross-entropy takes the softmax itself; a second one flattens the gradient.",
)
class _Probabilities(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src, cls.softmax(1), cor


@Heads.misconception(
    "leaves logits and coordinates as maps of one cell",
    "the shapes should be (B, 8), without the two sides of length 1.",
)
class _MapsOfOneCell(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src, cls[:, :, None, None], cor[:, :, None, None]


@Heads.misconception(
    "returns coordinates before classes",
    "the order is: real? which? how strong?",
)
class _WrongOrder(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src, cor, cls


@Heads.misconception(
    "cuts the coordinates off below 0",
    "a coordinate is a plain regression; cut off, it has no gradient where it is wrong.",
)
class _CutOff(Heads.reference):
    def forward(self, features):
        src, cls, cor = super().forward(features)
        return src, cls, cor.relu()


# --- conditional scores ---------------------------------------------------------------------------


@exercise("04", "Add to each patch score the inner product of its features with a vector.")
def projection(src: Tensor, features: Tensor, v: Tensor) -> Tensor:
    """Scores (B, 1, p, p), features (B, C, p, p), a vector an image (B, C): (B, 1, p, p)."""
    return src + (v[:, :, None, None] * features).sum(1, keepdim=True)


projection.worked.append(
    (
        (
            torch.tensor([[[[5.0, 0.0]]]]),  # (1, 1, 1, 2)
            torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]),  # (1, 2, 1, 2)
            torch.tensor([[10.0, -1.0]]),
        ),
        torch.tensor([[[[12.0, 16.0]]]]),
    )
)


def _scores_and_features(seed: int, batch: int, channels: int, side: int) -> tuple[Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    shapes = ((batch, 1, side, side), (batch, channels, side, side), (batch, channels))
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


@projection.case
def _three_images():
    return _scores_and_features(3, 3, 5, 4)


@projection.case
def _eight_by_eight():
    return _scores_and_features(4, 2, 16, 8)


@projection.use_oracle
def _patch_by_patch(src, features, v):
    result = src.double().clone()
    for b in range(src.shape[0]):
        for i in range(src.shape[2]):
            for j in range(src.shape[3]):
                result[b, 0, i, j] += torch.dot(v[b].double(), features[b, :, i, j].double())
    return result


@projection.holds("a vector of zeros leaves every score as it was")
def _starts_unconditional(answer):
    src, features, v = _scores_and_features(5, 2, 3, 4)
    return torch.equal(answer(src, features, torch.zeros_like(v)), src)


@projection.misconception(
    "adds the same number to all patches of an image",
    "each patch has features of its own; which dimension does an inner product sum over?",
)
def _one_number_an_image(src, features, v):
    return src + (v[:, :, None, None] * features).sum((1, 2, 3), keepdim=True)


@projection.misconception(
    "averages over the channels",
    "an inner product is a sum.",
)
def _mean_over_channels(src, features, v):
    return src + (v[:, :, None, None] * features).mean(1, keepdim=True)


@projection.misconception(
    "forgets the unconditional score",
    "with v = 0 the critic should still ask: real?",
)
def _without_src(src, features, v):
    return (v[:, :, None, None] * features).sum(1, keepdim=True)


@projection.misconception(
    "gives all images the vector of the first",
    "each image asks for an expression of its own; look at what you index.",
)
def _first_vector_for_all(src, features, v):
    return src + (v[:1, :, None, None] * features).sum(1, keepdim=True)


@projection.misconception(
    "multiplies score and inner product",
    "what happens to the score while the vector is still zero?",
)
def _product(src, features, v):
    return src * (v[:, :, None, None] * features).sum(1, keepdim=True)


# --- the class head -------------------------------------------------------------------------------


@exercise("04", "Write the class head, a convolution as large as its map, as a matrix product.")
def class_head(face: Tensor, weight: Tensor) -> Tensor:
    """Features (B, C, 2, 2) and kernels (N, C, 2, 2) to logits (B, N), without a convolution."""
    return face.flatten(1) @ weight.flatten(1).T


class_head.worked.append(
    (
        (
            torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]),
            torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[0.0, 10.0], [0.0, -1.0]]]]),
        ),
        torch.tensor([[10.0, 16.0]]),
    )
)


def _face_and_kernels(seed: int, batch: int, channels: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    face = torch.randn(batch, channels, 2, 2, generator=random)
    return face, torch.randn(CLASSES, channels, 2, 2, generator=random)


@class_head.case
def _three_deep_faces():
    return _face_and_kernels(6, 3, 4)


@class_head.case
def _one_shallow_face():
    return _face_and_kernels(7, 1, 2)


@class_head.use_oracle
def _by_convolution(face, weight):
    return F.conv2d(face.double(), weight.double()).flatten(1)


@class_head.misconception(
    "averages the map before it looks at the kernels",
    "the left of the face and the right of it have weights of their own: think of contempt.",
)
def _pools_first(face, weight):
    return face.mean((2, 3)) @ weight.sum((2, 3)).T


@class_head.misconception(
    "averages the products instead of adding them up",
    "a convolution adds up.",
)
def _averages_products(face, weight):
    return (face.flatten(1) @ weight.flatten(1).T) / face[0].numel()


@class_head.misconception(
    "lays the kernel upside down",
    "in deep learning, a convolution does not turn its kernel.",
)
def _turned_kernel(face, weight):
    return face.flatten(1) @ weight.flip(2, 3).flatten(1).T


@class_head.misconception(
    "flattens map and kernels in different orders",
    "channels first or last, but for both the same.",
)
def _mixed_orders(face, weight):
    return face.permute(0, 2, 3, 1).flatten(1) @ weight.flatten(1).T


@class_head.misconception(
    "returns probabilities",
    "logits are the sums themselves.",
)
def _as_probabilities(face, weight):
    return (face.flatten(1) @ weight.flatten(1).T).softmax(1)


# --- log-probabilities ----------------------------------------------------------------------------


@exercise("04", "Turn logits into the logarithms of probabilities.")
def log_probabilities(logits: Tensor) -> Tensor:
    """Logits (B, N) to log-probabilities (B, N), also where logits are large."""
    shifted = logits - logits.amax(1, keepdim=True)  # now the largest is 0: no overflow
    return shifted - shifted.exp().sum(1, keepdim=True).log()


log_probabilities.worked.append(
    ((torch.tensor([[0.0, math.log(3.0)]]),), torch.tensor([[1 / 4, 3 / 4]]).log())
)
log_probabilities.worked.append(((torch.zeros(1, 8),), torch.full((1, 8), -math.log(8.0))))


@log_probabilities.case
def _three_rows_of_logits():
    return (3 * torch.randn(3, 8, generator=torch.Generator().manual_seed(8)),)


@log_probabilities.case
def _a_class_that_is_nearly_excluded():
    return (torch.tensor([[0.0, 1.0, -40.0], [2.0, 0.0, 1.0]]),)


@log_probabilities.use_oracle
def _by_torch(logits):
    return F.log_softmax(logits.double(), 1)


@log_probabilities.holds("logits of a thousand still give numbers")
def _no_overflow(answer):
    return bool(answer(torch.tensor([[1000.0, 0.0]])).isfinite().all())


@log_probabilities.holds("a face with large logits leaves the other faces of the batch alone")
def _each_face_by_itself(answer):
    return bool(answer(torch.tensor([[1000.0, 0.0], [0.0, 1.0]])).isfinite().all())


@log_probabilities.misconception(
    "takes the softmax over the batch",
    "the probabilities of *one face* add up to 1: which dimension holds its classes?",
)
def _over_the_batch(logits):
    return F.log_softmax(logits, 0)


@log_probabilities.misconception(
    "forgets the logarithm",
    "a log-probability is never above 0.",
)
def _no_logarithm(logits):
    return logits.softmax(1)


@log_probabilities.misconception(
    "only subtracts the largest logit",
    "the probabilities, exp of what you return, should add up to 1.",
)
def _only_shifted(logits):
    return logits - logits.amax(1, keepdim=True)


@log_probabilities.misconception(
    "adds a small number inside the logarithm",
    "that hides overflow and bends every small probability. Simplify log(exp(a) / s) instead.",
)
def _small_number(logits):
    return (logits.softmax(1) + 1e-8).log()


@log_probabilities.misconception(
    "overflows for large logits",
    "exp(1000) is infinite; but adding one number to all logits changes no probability.",
)
def _overflows(logits):
    return logits - logits.exp().sum(1, keepdim=True).log()


# --- how strong? ----------------------------------------------------------------------------------


@exercise(
    "04", "Estimate the intensity from logits or from coordinates.", slot="estimate_intensity"
)
def rho_hat(logits: Tensor, cor: Tensor, source: str) -> Tensor:
    """Intensities (B,) from logits or coordinates (B, 8); source "classes" or "coordinates"."""
    if source == "classes":
        return logits.softmax(1).amax(1)
    return cor.amax(1)


rho_hat.worked.append(
    (
        (torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.5, -2.0]]), "classes"),
        torch.tensor([0.75]),
    )
)
rho_hat.worked.append(
    (
        (torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.5, -2.0]]), "coordinates"),
        torch.tensor([0.5]),
    )
)


def _logits_and_coordinates(seed: int, source: str) -> tuple[Tensor, Tensor, str]:
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, CLASSES, generator=random)
    cor = torch.randn(4, CLASSES, generator=random)
    cor[0] = -cor[0].abs()  # a face less than neutral
    cor[1, 0] = 3 + cor[1].amax()  # and one stronger than it can be
    cor[2, 5] = -4.0
    return logits, cor, source


@rho_hat.case
def _from_classes():
    return _logits_and_coordinates(9, "classes")


@rho_hat.case
def _from_coordinates():
    return _logits_and_coordinates(10, "coordinates")


@rho_hat.use_oracle
def _face_by_face(logits, cor, source):
    found = []
    for own, codes in zip(logits.tolist(), cor.tolist(), strict=True):
        total = sum(math.exp(logit) for logit in own)
        sure = max(math.exp(logit) / total for logit in own)
        found.append(sure if source == "classes" else max(codes))
    return torch.tensor(found, dtype=torch.float64)


@rho_hat.holds("undecided classes give 1/8")
def _undecided(answer):
    rho = answer(torch.zeros(2, CLASSES), torch.zeros(2, CLASSES), "classes")
    return torch.allclose(rho, torch.full_like(rho, 1 / 8))


@rho_hat.misconception(
    "takes the largest logit as it is",
    "a logit can be anything; a probability needs the softmax.",
)
def _largest_logit(logits, cor, source):
    return logits.amax(1) if source == "classes" else cor.amax(1)


@rho_hat.misconception(
    "says which is largest instead of how large",
    "`argmax` answers another question.",
)
def _which(logits, cor, source):
    return (logits if source == "classes" else cor).argmax(1)


@rho_hat.misconception(
    "puts the coordinates through a softmax too",
    "coordinates estimate z itself; they do not have to add up to 1.",
)
def _softmax_of_both(logits, cor, source):
    return (logits if source == "classes" else cor).softmax(1).amax(1)


@rho_hat.misconception(
    "cuts coordinates off outside [0, 1]",
    "equation (6) needs a gradient exactly where the estimate is out of range.",
)
def _cut_coordinates(logits, cor, source):
    return rho_hat.reference(logits, cor.clamp(0, 1), source)


@rho_hat.misconception(
    "takes the coordinate of the largest size, whatever its sign",
    "a strongly negative coordinate says: this expression least of all.",
)
def _largest_size(logits, cor, source):
    return rho_hat.reference(logits, cor.abs(), source)


@rho_hat.misconception(
    "takes the largest over the batch",
    "one estimate a face: shape (B,).",
)
def _over_faces(logits, cor, source):
    return (logits.softmax(1) if source == "classes" else cor).amax(0)


# --- a ninth class --------------------------------------------------------------------------------


@exercise("04", "Compute the probability of a further class whose logit is fixed at 0.")
def fake_probability(logits: Tensor) -> Tensor:
    """Logits (B, N) of the other classes to the probability (B,) of "generated"."""
    return 1 / (1 + logits.exp().sum(1))


fake_probability.worked.append(((torch.tensor([[3.0, 4.0]]).log(),), torch.tensor([1 / 8])))
fake_probability.worked.append(((torch.zeros(1, 8),), torch.tensor([1 / 9])))


@fake_probability.case
def _eight_logits():
    return (torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(11)),)


@fake_probability.case
def _sure_of_both_sides():
    return (torch.tensor([[-6.0, -7.0], [5.0, -5.0]]),)


@fake_probability.use_oracle
def _nine_logits(logits):
    return F.softmax(F.pad(logits.double(), (0, 1)), 1)[:, -1]


@fake_probability.misconception(
    "leaves the ninth class out of the sum",
    "the nine probabilities add up to 1; what is exp(0)?",
)
def _without_its_own(logits):
    return 1 / logits.exp().sum(1)


@fake_probability.misconception(
    "takes what is left of the largest of eight probabilities",
    "that says how unsure the critic is among real classes.",
)
def _rest_of_eight(logits):
    return 1 - logits.softmax(1).amax(1)


@fake_probability.misconception(
    "asks only the largest logit",
    "all eight compete with the ninth.",
)
def _only_the_largest(logits):
    return (-logits.amax(1)).sigmoid()


@fake_probability.misconception(
    "fixes the ninth exponential at 0 instead of the ninth logit",
    "exp turns a logit of 0 into something else.",
)
def _never_fake(logits):
    return 0 * logits.sum(1)


@fake_probability.misconception(
    "returns the probability of the other classes",
    "their sum and the ninth add up to 1.",
)
def _probability_of_real(logits):
    return 1 - fake_probability.reference(logits)
