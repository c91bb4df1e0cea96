"""Exercises of notebook 06: training."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmagan_lite.data import batch_indices
from mmagan_lite.exercises.room import exercise

Order = Callable[[int], Tensor]
"""The order of all faces in an epoch, (faces,)."""


def _draw(seed: int, *shape: int) -> Tensor:
    """Normal random numbers, the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ----------------------------------------------------------------------------------- learning_rate


@exercise("06", "The learning rate at a step: constant in the first half, then linear to zero.")
def learning_rate(step: int, steps: int, base: float) -> float:
    """Step 0 to steps - 1 of a run: what Adam's learning rate is then."""
    return base * min(1.0, 2 * (1 - step / steps))


@learning_rate.runs
def _at_every_step(answer, steps, base):
    return [answer(step, steps, base) for step in range(steps)]


learning_rate.worked.append(((4, 8.0), [8.0, 8.0, 8.0, 4.0]))


@learning_rate.case
def _ten_steps():
    return 10, 1.0


@learning_rate.case
def _an_odd_number_of_steps():
    return 7, 3.0


@learning_rate.use_oracle
def _interpolated(steps, base):
    return list(np.interp(range(steps), [0, steps / 2, steps], [base, base, 0]))


@learning_rate.misconception(
    "falls from the beginning", "for half of the run it should stay where it is."
)
def _falls_at_once(step, steps, base):
    return base * (1 - step / steps)


@learning_rate.misconception(
    "starts at twice the rate", "the falling line is above 1 at first. What limits it?"
)
def _starts_double(step, steps, base):
    return base * 2 * (1 - step / steps)


@learning_rate.misconception(
    "drops in one go and stays there", "a line, not a stair: it should fall a little at each step."
)
def _stair(step, steps, base):
    return base if step <= steps / 2 else base / 2


@learning_rate.misconception(
    "falls only half of the way",
    "where would it be at `step = steps`, one after the last? It should be zero there.",
)
def _half_of_the_way(step, steps, base):
    return base * min(1.0, 1.5 - step / steps)


@learning_rate.misconception(
    "is zero at the last step",
    "a step at rate zero learns nothing. Zero belongs to `steps`, one after the last.",
)
def _last_step_wasted(step, steps, base):
    return base * min(1.0, 2 * (1 - step / (steps - 1)))


@learning_rate.misconception(
    "is one step ahead", "steps count from 0: at step 0 of 4, nothing of the run is over yet."
)
def _one_ahead(step, steps, base):
    return base * min(1.0, 2 * (1 - (step + 1) / steps))


@learning_rate.misconception(
    "falls along a cosine", "that is a popular schedule, but not this one: a straight line, please."
)
def _cosine(step, steps, base):
    over = max(0.0, 2 * step / steps - 1)  # the share of the second half that is over
    return base * (1 + math.cos(math.pi * over)) / 2


@learning_rate.misconception(
    "gives a factor, not a rate",
    "the two players have rates of their own. Where does `base` enter?",
)
def _only_a_factor(step, steps, base):
    return min(1.0, 2 * (1 - step / steps))


@learning_rate.misconception(
    "never falls", "`//` leaves no fraction: 7 // 10 is 0. How far is the run, as a share?"
)
def _whole_division(step, steps, base):
    return base * min(1, 2 * (1 - step // steps))


# ---------------------------------------------------------------------------------- moving_average


@exercise("06", "The moving average of a generator's weights, with a memory that grows.")
def moving_average(weights: Tensor, ema_decay: float) -> Tensor:
    """Weights after step 0, 1, ... as rows (T, P): their average after the last, (P,)."""
    average = weights[0]
    for t in range(1, len(weights)):
        decay = min(ema_decay, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weights[t]
    return average


moving_average.worked += [
    ((torch.tensor([[0.0], [11.0], [1.0]]), 0.999), torch.tensor([3.0])),
    ((torch.tensor([[0.0], [11.0], [1.0]]), 0.2), torch.tensor([2.6])),
]


@moving_average.case
def _few_steps():
    return 3 * _draw(10, 6, 3), 0.999


@moving_average.case
def _until_the_memory_is_full():
    return 3 * _draw(11, 40, 2).cumsum(0), 0.6


@moving_average.use_oracle
def _by_pytorch(weights, ema_decay):
    network = nn.Linear(1, weights.shape[1], bias=False)

    def blend(averaged, current, count):
        step = int(count)  # updates before this one
        get_ema_multi_avg_fn(min(ema_decay, (1 + step) / (10 + step)))(averaged, current, count)

    average = AveragedModel(network, multi_avg_fn=blend)
    for row in weights:
        with torch.no_grad():
            network.weight.copy_(row[:, None])
        average.update_parameters(network)
    return average.module.weight[:, 0]


@moving_average.holds("weights that never change are their own average")
def _still(answer):
    return torch.allclose(answer(torch.full((30, 2), 7.0), 0.9), torch.tensor(7.0), atol=1e-4)


@moving_average.misconception(
    "has the long memory from the start",
    "then the untrained weights of step 0 are remembered for a thousand steps. Which decay is "
    "smaller while t is small?",
)
def _long_at_once(weights, ema_decay):
    average = weights[0]
    for row in weights[1:]:
        average = ema_decay * average + (1 - ema_decay) * row
    return average


@moving_average.misconception(
    "takes the larger of the two decays", "the memory should *grow* up to `ema_decay`: min or max?"
)
def _larger_decay(weights, ema_decay):
    return _average(weights, lambda t: max(ema_decay, (1 + t) / (10 + t)))


@moving_average.misconception(
    "mixes up the two shares",
    "the decay is the share of what is *kept*. A decay near 1 should hardly move the average.",
)
def _shares_swapped(weights, ema_decay):
    return _average(weights, lambda t: 1 - min(ema_decay, (1 + t) / (10 + t)))


@moving_average.misconception(
    "averages all steps alike",
    "G at step 10 is a beginner. An average that moves forgets him.",
)
def _plain_mean(weights, ema_decay):
    return weights.mean(0)


@moving_average.misconception(
    "starts from zeros",
    "no network has weights of 0 at birth. The first average is the first row.",
)
def _from_zeros(weights, ema_decay):
    padded = torch.cat([torch.zeros_like(weights[:1]), weights])
    return _average(padded, lambda t: min(ema_decay, t / (9 + t)))


@moving_average.misconception(
    "gives the newest weights", "those are what training goes on with, not what gets used."
)
def _newest(weights, ema_decay):
    return weights[-1]


@moving_average.misconception(
    "counts one step too few",
    "row t is blended in with the decay of step t, and row 1 is the first to be blended.",
)
def _one_too_few(weights, ema_decay):
    return _average(weights, lambda t: min(ema_decay, t / (9 + t)))


@moving_average.misconception(
    "counts one step too many",
    "row t is blended in with the decay of step t: 2/11 for row 1.",
)
def _one_too_many(weights, ema_decay):
    return _average(weights, lambda t: min(ema_decay, (2 + t) / (11 + t)))


@moving_average.misconception(
    "lets the memory grow without end",
    "after ten thousand steps it would hardly move any more. Where does `ema_decay` enter?",
)
def _no_limit(weights, ema_decay):
    return _average(weights, lambda t: (1 + t) / (10 + t))


def _average(weights: Tensor, decay_at: Callable[[int], float]) -> Tensor:
    average = weights[0]
    for t in range(1, len(weights)):
        average = decay_at(t) * average + (1 - decay_at(t)) * weights[t]
    return average


# ---------------------------------------------------------------------------------- faces_of_batch


@exercise("06", "Which faces make up a batch: a pure function of its number.")
def faces_of_batch(number: int, batch_size: int, faces: int, order: Order) -> Tensor:
    """Batch 0, 1, ... of an endless row of epochs, each in its own order: (batch_size,)."""
    places = range(number * batch_size, (number + 1) * batch_size)
    return torch.stack([order(place // faces)[place % faces] for place in places])


@faces_of_batch.runs
def _some_batches(answer, numbers, batch_size, faces, seed):
    order = _orders(faces, seed)
    return [answer(number, batch_size, faces, order) for number in numbers]


def _orders(faces: int, seed: int) -> Order:
    """The trainer's own orders."""
    return lambda epoch: torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(faces))


faces_of_batch.worked.append(
    (([0, 1, 2], 2, 3, 2), (torch.tensor([2, 0]), torch.tensor([1, 0]), torch.tensor([2, 1])))
)


@faces_of_batch.case
def _eleven_faces():
    return [5, 0, 2, 3, 7], 4, 11, 3


@faces_of_batch.case
def _batches_larger_than_the_set():
    return [2, 0, 1], 13, 5, 4


@faces_of_batch.case
def _batches_that_fit():
    return [3, 1, 4], 3, 9, 5


@faces_of_batch.use_oracle
def _by_the_trainer(numbers, batch_size, faces, seed):
    return [batch_indices(faces, batch_size, number, seed) for number in numbers]


@faces_of_batch.holds("four batches of 5 show each of 10 faces exactly twice")
def _shown_alike(answer):
    batches = [torch.as_tensor(answer(n, 5, 10, _orders(10, 6))) for n in range(4)]
    return torch.cat(batches).bincount(minlength=10).tolist() == [2] * 10


@faces_of_batch.misconception(
    "throws away what is left of an epoch",
    "the faces at its end belong to the next batch, which the next epoch fills up.",
)
def _drops_the_rest(number, batch_size, faces, order):
    epoch, place = divmod(number, faces // batch_size)
    return order(epoch)[place * batch_size : (place + 1) * batch_size]


@faces_of_batch.misconception(
    "cuts the last batch of an epoch short",
    "every batch should be of the same size. Where do the missing faces come from?",
)
def _cut_short(number, batch_size, faces, order):
    epoch, place = divmod(number, -(-faces // batch_size))
    return order(epoch)[place * batch_size : (place + 1) * batch_size]


@faces_of_batch.misconception(
    "uses one order for all epochs",
    "then the same faces meet in the same batches again and again. Which epoch is a place in?",
)
def _one_order(number, batch_size, faces, order):
    places = range(number * batch_size, (number + 1) * batch_size)
    return torch.stack([order(0)[place % faces] for place in places])


@faces_of_batch.misconception(
    "shuffles anew for each batch",
    "some faces would come twice in an epoch and others not at all. `order` takes the number of "
    "an *epoch*.",
)
def _order_of_the_batch(number, batch_size, faces, order):
    return order(number)[:batch_size]


@faces_of_batch.misconception(
    "fills the last batch of an epoch from the beginning of the same one",
    "those faces have had their turn. The next epoch has an order of its own.",
)
def _wraps_around(number, batch_size, faces, order):
    first = number * batch_size
    return torch.stack(
        [order(first // faces)[place % faces] for place in range(first, first + batch_size)]
    )


@faces_of_batch.misconception(
    "moves on by one face a batch",
    "two neighbouring batches should have no place of the row in common. Where does batch 1 begin?",
)
def _moves_by_one(number, batch_size, faces, order):
    places = range(number, number + batch_size)
    return torch.stack([order(place // faces)[place % faces] for place in places])


@faces_of_batch.misconception("counts batches from 1", "the first batch has the number 0.")
def _from_one(number, batch_size, faces, order):
    places = range((number - 1) * batch_size, number * batch_size)
    return torch.stack([order(place // faces)[place % faces] for place in places])


@faces_of_batch.misconception(
    "takes the faces as they lie",
    "that is a place in the row. Which face stands there, `order` says.",
)
def _not_shuffled(number, batch_size, faces, order):
    return torch.arange(number * batch_size, (number + 1) * batch_size) % faces


@faces_of_batch.misconception(
    "draws at random",
    "ask twice for the same batch: a resumed run would see other faces. And chance shows some "
    "faces often and some hardly ever.",
)
def _at_random(number, batch_size, faces, order):
    return torch.randint(faces, (batch_size,))


# ------------------------------------------------------------------------------------- scaled_step


@exercise("06", "A step in float16: the gradient made large, checked, made small again, used.")
def scaled_step(
    weights: Tensor, gradient: Tensor, scale: float, rate: float
) -> tuple[Tensor, float]:
    """Weights and their exact gradient (P,): new weights and the scale for the next step."""
    half = (scale * gradient).half()  # what the backward pass of a scaled loss leaves
    if not half.isfinite().all():
        return weights, scale / 2
    return weights - rate * half.float() / scale, scale


BEYOND = 99.0
"""What stands for numbers that are none, so that they can be compared."""


@scaled_step.runs
def _with_the_scale_in_doublings(answer, weights, gradient, scale, rate):
    result = answer(weights, gradient, scale, rate)
    if result is None:
        return None
    moved, scale = result
    moved = torch.as_tensor(moved).double().nan_to_num(BEYOND, BEYOND, -BEYOND)
    return moved.clamp(-BEYOND, BEYOND), math.log2(scale)


scaled_step.worked += [
    ((torch.tensor([5.0]), torch.tensor([2.0**-26]), 1024.0, 2.0**26), (torch.tensor([4.0]), 10.0)),
    ((torch.tensor([5.0]), torch.tensor([100.0]), 1024.0, 0.01), (torch.tensor([5.0]), 9.0)),
]


@scaled_step.case
def _too_small_without_a_scale():
    return _draw(20, 4), 1e-8 * _draw(21, 4), 2.0**12, 1e8


@scaled_step.case
def _too_large_with_it():
    return _draw(22, 4), torch.tensor([0.5, -300.0, 2.0, 0.01]), 2.0**10, 0.1


@scaled_step.case
def _nothing_special():
    return _draw(24, 5), _draw(25, 5), 2.0**6, 0.7


@scaled_step.case
def _gradients_too_large_for_float16():
    return _draw(26, 3), torch.tensor([1e5, -2e5, 1.5e5]), 0.125, 1e-5


@scaled_step.use_oracle
def _by_pytorchs_scaler(weights, gradient, scale, rate):
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    network = nn.Parameter(weights.clone())
    optimiser = torch.optim.SGD([network], lr=rate)
    network.grad = (scaler.scale(torch.ones(())) * gradient).half().float()
    scaler.step(optimiser)
    scaler.update()
    return network, math.log2(scaler.get_scale())


@scaled_step.misconception(
    "forgets to make the gradient small again",
    "the step is `scale` times too long. When do you divide?",
)
def _never_unscaled(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    return (weights - rate * half.float(), scale) if half.isfinite().all() else (weights, scale / 2)


@scaled_step.misconception(
    "divides in float16",
    "the result is as small as before, and float16 still has no such numbers. `.float()` first.",
)
def _unscaled_in_half(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    small = (half / scale).float()
    return (weights - rate * small, scale) if half.isfinite().all() else (weights, scale / 2)


@scaled_step.misconception(
    "rounds before it scales",
    "what has become zero stays zero, however large the factor. It is the *loss* that is scaled, "
    "before the backward pass.",
)
def _rounded_first(weights, gradient, scale, rate):
    half = gradient.half() * scale
    return (
        (weights - rate * half.float() / scale, scale)
        if half.isfinite().all()
        else (weights, scale / 2)
    )


@scaled_step.misconception(
    "steps although the gradient is infinite",
    "one such step and all weights are gone. Look before you step.",
)
def _steps_to_infinity(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    finite = bool(half.isfinite().all())
    return weights - rate * half.float() / scale, scale if finite else scale / 2


@scaled_step.misconception(
    "leaves out only what is infinite",
    "the rest of a gradient without its largest part points somewhere else. Leave out the step.",
)
def _steps_with_the_rest(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    kept = half.float().masked_fill(~half.isfinite(), 0)
    return weights - rate * kept / scale, scale if half.isfinite().all() else scale / 2


@scaled_step.misconception(
    "cuts large gradients off at float16's largest number",
    "then nobody notices that the scale is too large, and the direction is wrong.",
)
def _cut_off(weights, gradient, scale, rate):
    half = (scale * gradient).clamp(-65504, 65504).half()
    return weights - rate * half.float() / scale, scale


@scaled_step.misconception(
    "keeps the scale that was too large",
    "the next gradient is much like this one. What will happen to it?",
)
def _keeps_the_scale(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    good = half.isfinite().all()
    return (weights - rate * half.float() / scale if good else weights), scale


@scaled_step.misconception(
    "makes the scale larger where it was too large",
    "a number that was infinite needs a smaller factor.",
)
def _grows_the_scale(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    good = half.isfinite().all()
    return (weights - rate * half.float() / scale, scale) if good else (weights, 2 * scale)


@scaled_step.misconception(
    "halves the scale at each step",
    "a step that went well is no reason to change it.",
)
def _always_halves(weights, gradient, scale, rate):
    half = (scale * gradient).half()
    good = half.isfinite().all()
    return (weights - rate * half.float() / scale if good else weights), scale / 2


@scaled_step.misconception(
    "never rounds to float16",
    "multiplying and dividing in float32 changes nothing. Where is the half precision?",
)
def _never_half(weights, gradient, scale, rate):
    return weights - rate * (scale * gradient) / scale, scale


# --------------------------------------------------------------------------------- pooled_gradient


@exercise("06", "The gradient of a whole batch from those of the processes that share it.")
def pooled_gradient(gradients: Tensor, counts: Tensor) -> Tensor:
    """Mean gradients (N, P) over the faces that count, and how many these are (N,): (P,)."""
    return (counts[:, None] * gradients).sum(0) / counts.sum().clamp(min=1)


@pooled_gradient.runs
def _even_if_it_is_no_number(answer, gradients, counts):
    pooled = answer(gradients, counts)
    return None if pooled is None else torch.as_tensor(pooled).nan_to_num(BEYOND)


pooled_gradient.worked.append(
    ((torch.tensor([[4.0, 0.0], [8.0, 12.0]]), torch.tensor([3, 1])), torch.tensor([5.0, 3.0]))
)


def _parts(seed: int, *counts: int) -> tuple[Tensor, Tensor]:
    """Mean gradients of processes; zero where no face counts."""
    faces = torch.tensor(counts)
    return 5 * _draw(seed, len(counts), 3) * (faces > 0)[:, None], faces


@pooled_gradient.case
def _three_processes():
    return _parts(30, 2, 7, 4)


@pooled_gradient.case
def _one_process_has_nothing():
    return _parts(31, 5, 0, 2, 6)


@pooled_gradient.case
def _no_face_counts_anywhere():
    return _parts(32, 0, 0)


@pooled_gradient.use_oracle
def _face_by_face(gradients, counts):
    of_faces = gradients.repeat_interleave(counts, 0)  # (faces, P)
    return of_faces.mean(0) if len(of_faces) else torch.zeros(gradients.shape[1])


@pooled_gradient.misconception(
    "averages the processes",
    "a process with one face would weigh as much as one with seven.",
)
def _mean_of_means(gradients, counts):
    return gradients.mean(0)


@pooled_gradient.misconception(
    "averages the processes that have any faces",
    "leaving out the empty ones is a start. Should the others weigh alike?",
)
def _mean_of_those_with_faces(gradients, counts):
    return gradients.sum(0) / (counts > 0).sum().clamp(min=1)


@pooled_gradient.misconception(
    "adds up the processes",
    "with twice as many processes, steps would be twice as long.",
)
def _sum_of_means(gradients, counts):
    return gradients.sum(0)


@pooled_gradient.misconception(
    "weighs by counts and does not divide",
    "that is the sum over all faces. How many are there?",
)
def _sum_over_faces(gradients, counts):
    return (counts[:, None] * gradients).sum(0)


@pooled_gradient.misconception(
    "divides by the number of processes",
    "you have added up faces, so it is faces that you must divide by.",
)
def _over_processes(gradients, counts):
    return (counts[:, None] * gradients).sum(0) / len(counts)


@pooled_gradient.misconception(
    "takes the largest part's gradient",
    "the others have seen faces too.",
)
def _largest_part(gradients, counts):
    return gradients[counts.argmax()]


@pooled_gradient.misconception(
    "takes the first process's gradient",
    "then the others have worked for nothing.",
)
def _first_part(gradients, counts):
    return gradients[0]


@pooled_gradient.misconception(
    "weighs a part less the more faces it has",
    "a mean over many faces is the *more* reliable one, and stands for more of the batch.",
)
def _upside_down(gradients, counts):
    weights = (1 / counts).masked_fill(counts == 0, 0)
    return (weights[:, None] * gradients).sum(0) / weights.sum().clamp(min=1e-9)


@pooled_gradient.misconception(
    "divides by nothing where no face counts",
    "0 / 0 is not a number, and it would spread to all weights. What should the gradient be?",
)
def _no_guard(gradients, counts):
    return (counts[:, None] * gradients).sum(0) / counts.sum()
