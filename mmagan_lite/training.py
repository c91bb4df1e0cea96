"""The trainer: a loop to read from top to bottom.

First the critic learns to read real faces (the warm-up). Then each step of training is a few
critic steps, equation (8), and one generator step, equation (7).
"""

import csv
import io
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from mmagan_lite import checkpoints, distributed, losses
from mmagan_lite.baselines import networks
from mmagan_lite.config import Config
from mmagan_lite.cuda import Recorded, ResidentFaces
from mmagan_lite.data import Faces, batch_indices, check, progress, write_atomically
from mmagan_lite.distributed import mine
from mmagan_lite.expressions import EXPRESSIONS, N, encode

CRITIC_TERMS = ("adv", "cls", "info", "fake", "gp", "r1")
GENERATOR_TERMS = ("adv", "cls", "rec", "info", "rho", "identity")
COLUMNS = (
    "step",
    "seconds",
    *(f"critic_{term}" for term in CRITIC_TERMS),
    *(f"generator_{term}" for term in GENERATOR_TERMS),
    "gap",
    "change",
    "accuracy_real",
    "accuracy_fake",
)
"""The history's columns: step (0 and below in the warm-up), seconds of training so far, every
term of equations (8) and (7) and of CycleGAN's losses unweighted, the critic's score gap, mean
|G(x, z) - x| in units of [-1, 1], and how often the critic's class is a real face's own, a
generated one's target."""

PROGRESS = {"step": int, "warmup_step": int, "seconds": float}
CHECKPOINT_MINUTES = 5
WARMUP, ADVERSARIAL = 0, 1  # the stages of a run, for seeding


class Trainer:
    """Train a generator and its critic, resumable to the bit.

    All random numbers of a step come from a generator that is seeded with (seed, stage, step),
    and so does the choice of its batch. Resuming therefore needs no random states. Several
    processes can share the work (`distributed`): each trains on its part of every batch, and the
    first one writes.

    Parameters
    ----------
    config : Config
    data : Faces
        Training faces, of side `config.image_size`.
    folder : path, optional
        Where ``checkpoint.pt``, ``history.csv`` and ``samples/*.png`` go. Default: nowhere.
    device : str or torch.device, optional
        Default: CUDA where it is present, else the CPU.
    test : Faces, optional
        Faces for the sample grids; default: `data`.
    compile : bool
        Compile the networks with `torch.compile`: a minute or two at the start, then a third
        faster on a GPU of 2022. The losses differ by rounding only.

    Attributes
    ----------
    generator, critic : nn.Module
        `Generator` and `Discriminator`, or a baseline's (`baselines.networks`).
    model : nn.Module
        The moving average of the generator's weights, in eval mode: what gets used.
    step : int
        Generator steps so far.
    history : list of dict
        One row a step; see `COLUMNS`.

    Raises
    ------
    ValueError
        If nothing can be learned from the data (by CycleGAN: without neutral faces), its images
        have another size than the configuration's, the folder already holds a run, or processes
        cannot share the batch.

    Examples
    --------
    >>> trainer = Trainer(Config.profile("laptop"), ProceduralFaces(), "runs/first")
    >>> trainer.fit(minutes=10)
    >>> trainer = Trainer.resume("runs/first", ProceduralFaces()).fit()
    """

    def __init__(
        self,
        config: Config,
        data: Faces,
        folder: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        test: Faces | None = None,
        compile: bool = False,
    ) -> None:
        check(data)
        if data.size != config.image_size:
            raise ValueError(
                f"The faces are {data.size} pixels wide but the configuration's image_size is "
                f"{config.image_size}; make them equal."
            )
        if config.model == "cyclegan" and 0 not in data.expression:
            raise ValueError(
                f"CycleGAN goes from neutral to each expression and back, but none of the "
                f"{len(data)} faces is neutral; add neutral faces or choose another model."
            )
        self.config, self.data = config, data
        self.folder = _writable(folder)
        if self.folder and (self.folder / "checkpoint.pt").exists():
            raise ValueError(
                f"{folder} already holds a run; continue it with Trainer.resume, or give "
                f"another folder."
            )
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.expressions = data.expression.unique().to(self.device)  # not every set has all eight
        self.has_neutral = 0 in data.expression
        self.random = torch.Generator(self.device)
        with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers alone
            torch.manual_seed(config.seed)
            self.generator, self.critic = (part.to(self.device) for part in networks(config))
        self.draw, self.judge = self.generator, self.critic
        if compile:
            self.draw, self.judge = torch.compile(self.generator), torch.compile(self.critic)
        self.play = self._play
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # sizes never change: measure kernels once
            self.critic.to(memory_format=torch.channels_last)
            if ResidentFaces.fit(data, self.device):
                self.data = ResidentFaces(data, self.device)
            self.play = Recorded(self._play, self.random)
        self.average = AveragedModel(self.generator, multi_avg_fn=self._blend)
        self.average.eval().requires_grad_(False)
        # float16 has no small numbers: without a large factor, gradients would round to zero.
        half = config.precision == "float16"
        self.scaler = torch.GradScaler(self.device.type, init_scale=2.0**10, enabled=half)
        self.generator_optimiser = _adam(self.generator, config.lr_generator, self.device)
        self.critic_optimiser = _adam(self.critic, config.lr_critic, self.device)
        # CycleGAN's critics read no classes, so there is nothing to learn beforehand.
        reads_classes = config.model != "cyclegan"
        self.warmup_steps = config.warmup_steps if config.warmup and reads_classes else 0
        distributed.check_divisible(self._batches())
        self.step, self.warmup_step, self.seconds = 0, 0, 0.0
        self.history: list[dict[str, float]] = []
        faces = data if test is None else test
        self.samples = faces.batch(range(min(4, len(faces))), self.device)["image"]

    def _batches(self) -> dict[str, int]:
        """How many images come at a time, by what decides it."""
        config = self.config
        if config.model == "cyclegan":
            return {"Half of batch_size": max(1, config.batch_size // 2)}
        warmup = {"warmup_batch_size": config.warmup_batch_size} if self.warmup_steps else {}
        return {"batch_size": config.batch_size} | warmup

    @property
    def model(self) -> nn.Module:
        """The averaged generator, in eval mode."""
        return self.average.module

    def fit(self, steps: int | None = None, minutes: float | None = None) -> Self:
        """Train until one of the limits is reached, and always at most to `config.steps`.

        Ctrl-C waits for the step in progress and saves a checkpoint. Of several processes, the
        first that reaches a limit, or Ctrl-C, stops all of them after the same step.

        Parameters
        ----------
        steps : int, optional
            Further generator steps; 0 is the critic's warm-up alone.
        minutes : float, optional
            Wall time.

        Returns
        -------
        Trainer
            Itself; see `model` and `history`.

        Raises
        ------
        ValueError
            If a limit is no number or less than 0.
        FloatingPointError
            If a loss is no longer a number; the last checkpoint is kept.
        OSError
            If the folder cannot be written; the last checkpoint is kept.
        MemoryError
            If the device has too little memory; the last checkpoint is kept.
        ConnectionError
            If another process that trains with this one is gone; the last checkpoint is kept.
        """
        _check_limits(steps, minutes)
        config = self.config
        goal = config.steps if steps is None else min(config.steps, self.step + steps)
        warmup_steps = self.warmup_steps
        quiet = {} if distributed.rank() == 0 else {"disable": True}
        started = saved = time.monotonic()
        deadline = math.inf if minutes is None else started + 60 * minutes
        todo = warmup_steps - self.warmup_step + goal - self.step
        if self.folder and not (self.folder / "checkpoint.pt").exists():
            self.save()
        with (
            _patient_interrupt() as interrupted,
            progress(total=todo, unit="step", **quiet) as bar,
        ):
            while not distributed.anyone(interrupted or time.monotonic() >= deadline):
                before = time.monotonic()
                if self.warmup_step == warmup_steps and self.step >= goal:
                    break
                try:
                    row = self.warm_up() if self.warmup_step < warmup_steps else self.train_step()
                except RuntimeError as error:
                    raise _explained(error, config) from error
                self.seconds += time.monotonic() - before
                self._record(row)
                self._show(bar, row)
                if time.monotonic() > saved + 60 * CHECKPOINT_MINUTES:
                    self.save()
                    saved = time.monotonic()
            self.save()
        if distributed.anyone(interrupted):
            raise KeyboardInterrupt
        return self

    def warm_up(self) -> dict[str, float]:
        """One step of the critic on real faces alone: classes, and coordinates where known."""
        config = self.config
        self._seed(WARMUP, self.warmup_step)
        x, own, z_own = self._real(self.warmup_step, config.warmup_batch_size)
        _, cls, *cor = self._criticise(augment(x, config.augment, self.random), own)
        terms = {"cls": losses.classification(cls, own, config.fake_class > 0)}
        if cor:  # StarGAN's critic has no coordinates
            terms["info"] = losses.condition_regression(cor[0], z_own)
        _minimise(losses.discriminator_total(config, **terms), self.critic_optimiser, self.scaler)
        self.warmup_step += 1
        values = {f"critic_{term}": value for term, value in terms.items()}
        values["accuracy_real"] = _accuracy(cls, own)
        return self._row(self.warmup_step - config.warmup_steps, values)

    def train_step(self) -> dict[str, float]:
        """`config.critic_steps` steps of the critic, then one of the generator."""
        config = self.config
        self._seed(ADVERSARIAL, self.step)
        self._set_learning_rates()
        if config.model == "cyclegan":
            values = self.train_pair()
        else:
            first = self.step * config.critic_steps
            numbers = range(first, first + config.critic_steps)
            batches = [self._real(number, config.batch_size) for number in numbers]
            values = self.play(batches, tuple(n % config.r1_every == 0 for n in numbers))
        self.average.update_parameters(self.generator)
        self.step += 1
        return self._row(self.step, values)

    def _play(self, batches: list[tuple], penalise: tuple[bool, ...]) -> dict[str, Tensor]:
        """One critic step a batch, then one of the generator on the last batch."""
        last = len(batches) - 1
        for i, (x, own, z_own) in enumerate(batches):
            target, rho = self._targets(len(x))
            z = _codes(target, rho)  # (B, 8)
            with torch.set_grad_enabled(i == last):
                y = self._edit(x, z)  # (B, 3, H, W)
            values, src_x, z_back = self.train_critic(
                x, own, z_own, y.detach(), target, z, penalise[i]
            )
        values |= self.train_generator(x, y, target, rho, z, src_x, z_back)
        return {name: value.detach() for name, value in values.items()}

    def train_critic(
        self,
        x: Tensor,
        own: Tensor,
        z_own: Tensor,
        y: Tensor,
        target: Tensor,
        z: Tensor,
        penalise: bool,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Minimise equation (8) once; real faces x are `own`, generated ones y are `target`.

        Returns
        -------
        values : dict
            For the history.
        src_x : Tensor
            What the critic said of the real faces, detached.
        z_back : Tensor of shape (B, 8)
            The code that leads back to x: D_cor(x), or StarGAN's, the label of x.
        """
        config, critic, fake_class = self.config, self.critic, self.config.fake_class > 0
        x, y = augment(torch.cat([x, y]), config.augment, self.random).chunk(2)
        src, cls, *cor = self._criticise(torch.cat([x, y]), torch.cat([own, target]))  # in one go
        (src_x, src_y), (cls_x, cls_y) = src.chunk(2), cls.chunk(2)

        hinge = config.adversarial == "hinge"
        adversarial = losses.hinge_adversarial if hinge else losses.adversarial
        terms = {
            "adv": adversarial(src_x, src_y),  # (1)
            "cls": losses.classification(cls_x, own, fake_class),  # (3)
        }
        z_back = _codes(own, torch.ones_like(own, dtype=x.dtype))
        if cor:  # StarGAN's critic has no coordinates
            cor_x, cor_y = cor[0].chunk(2)
            terms["info"] = torch.zeros((), device=x.device)
            if config.coordinates_on_fake:
                terms["info"] = terms["info"] + losses.condition_regression(cor_y, z)  # (5)
            if config.coordinates_on_real:
                terms["info"] = terms["info"] + losses.condition_regression(cor_x, z_own)
            z_back = cor_x.detach().clamp(0, 1)
        if fake_class:
            fakes = torch.full_like(target, losses.FAKE)
            terms["fake"] = losses.classification(cls_y, fakes, fake_class=True)
        if config.lambda_gp > 0:
            terms["gp"] = losses.gradient_penalty(lambda x: critic(x, own)[0], x, y, self.random)
        if config.lambda_r1 > 0 and penalise:  # rarely, but then as much as for all steps since
            terms["r1"] = config.r1_every * losses.r1_penalty(lambda x: critic(x, own)[0], x)
        _minimise(losses.discriminator_total(config, **terms), self.critic_optimiser, self.scaler)

        values = {f"critic_{term}": value for term, value in terms.items()}
        values["gap"] = losses.adversarial(src_x, src_y)
        values["accuracy_real"] = _accuracy(cls_x, own)
        return values, src_x.detach(), z_back

    def train_generator(
        self,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        rho: Tensor,
        z: Tensor,
        src_x: Tensor,
        z_back: Tensor,
    ) -> dict[str, Tensor]:
        """Minimise equation (7) once, for y = G(x, z); returns values for the history."""
        config = self.config
        self.critic.requires_grad_(False)  # it judges but does not learn: cheaper
        src, cls, *cor = self._criticise(augment(y, config.augment, self.random), target)
        terms = {
            "adv": losses.adversarial(src_x, src),  # (1)
            "cls": losses.classification(cls, target, config.fake_class > 0),  # (4)
            "rec": losses.reconstruction(x, self._edit(y, z_back)),  # (2)
        }
        if cor:
            rho_hat = losses.estimate_intensity(cls, cor[0], config.rho_estimate)  # (B,)
            terms["info"] = losses.condition_regression(cor[0], z)  # (5)
            terms["rho"] = losses.intensity(rho_hat, rho)  # (6)
        _minimise(losses.generator_total(config, **terms), self.generator_optimiser, self.scaler)
        self.critic.requires_grad_(True)

        values = {f"generator_{term}": value for term, value in terms.items()}
        values["change"] = (y - x).abs().mean()
        values["accuracy_fake"] = _accuracy(cls, target)
        return values

    def train_pair(self) -> dict[str, Tensor]:
        """One step of CycleGAN: both generators, then both critics of one pair of domains.

        The pairs neutral - expression take turns; half of the batch comes from each domain.
        """
        config, critics, random = self.config, self.critic, self.random
        labels = [label for label in self.expressions.tolist() if label != 0]
        turn, place = divmod(self.step, len(labels))
        pair = labels[place] - 1
        half = max(1, config.batch_size // 2)
        domains = [self._domain(label, turn, half) for label in (0, labels[place])]

        # Forth from neutral, back from the expression; each is the other's way home.
        ways = [(self.generator.forth[pair], critics.forth[pair], *domains)]
        ways += [(self.generator.back[pair], critics.back[pair], *domains[::-1])]
        terms = {"adv": 0.0, "rec": 0.0, "identity": 0.0}
        drawn = []
        critics.requires_grad_(False)
        for (draw, critic, x, there), (home, *_) in zip(ways, ways[::-1], strict=True):
            with self._autocast():
                y = draw(x)  # (B/2, 3, H, W)
                back, same = home(y).to(x.dtype), draw(there).to(x.dtype)
                score = critic(augment(y.to(x.dtype), config.augment, random)).to(x.dtype)
            terms["adv"] = terms["adv"] + losses.least_squares(score, 1)
            terms["rec"] = terms["rec"] + losses.reconstruction(x, back)
            terms["identity"] = terms["identity"] + losses.reconstruction(there, same)
            drawn.append(y.detach().to(x.dtype))
        _minimise(losses.cyclegan_total(config, **terms), self.generator_optimiser, self.scaler)
        critics.requires_grad_(True)

        values = {f"generator_{term}": value for term, value in terms.items()}
        values["change"] = (torch.cat(drawn) - torch.cat(domains)).abs().mean()
        loss, gap = 0.0, 0.0
        for way, ((_, critic, _, there), y) in enumerate(zip(ways, drawn, strict=True)):
            y = mine(critics.replay(way, pair, distributed.gather(y), random))
            with self._autocast():
                score = critic(augment(torch.cat([there, y]), config.augment, random)).to(y.dtype)
            real, fake = score.chunk(2)
            loss = loss + (losses.least_squares(real, 1) + losses.least_squares(fake, 0)) / 2
            gap = gap + losses.adversarial(real.detach(), fake.detach()) / 2
        _minimise(loss, self.critic_optimiser, self.scaler)
        return values | {"critic_adv": loss, "gap": gap}

    def _autocast(self) -> torch.autocast:
        precision = self.config.precision
        half = torch.float16 if precision == "float16" else torch.bfloat16
        return torch.autocast(self.device.type, half, enabled=precision != "float32")

    def _edit(self, x: Tensor, z: Tensor) -> Tensor:
        """G(x, z), computed in the configuration's precision."""
        with self._autocast():
            return self.draw(x, z).to(x.dtype)

    def _criticise(self, x: Tensor, expression: Tensor) -> list[Tensor]:
        """The critic's heads for x, computed in the configuration's precision."""
        with self._autocast():
            return [head.to(x.dtype) for head in self.judge(x, expression)]

    def _domain(self, label: int, turn: int, count: int) -> Tensor:
        """Images of one expression, (count, 3, H, W)."""
        domain = (self.data.expression == label).nonzero().flatten()
        chosen = domain[mine(batch_indices(len(domain), count, turn, self.config.seed))]
        return self.data.batch(chosen, self.device)["image"]

    def _real(self, number: int, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Batch `number` of real faces x, their expressions c' and codes (NaN where unknown)."""
        indices = batch_indices(len(self.data), batch_size, number, self.config.seed)
        batch = self.data.batch(mine(indices), self.device)
        own, rho = batch["expression"], batch["rho"]
        return batch["image"], own, _codes(own, rho)

    def _targets(self, count: int) -> tuple[Tensor, Tensor]:
        """Random targets: expressions of the data and rho, uniform; rho below 0.2 means neutral.

        Faces below 0.2 can hardly be told from neutral ones, and the way back to neutral is the
        hardest to learn, since it starts from every expression: so it is asked for most.
        """
        on = {"generator": self.random, "device": self.device}
        whole = count * distributed.processes()
        drawn = mine(torch.randint(len(self.expressions), (whole,), **on))
        rho = mine(torch.rand(whole, **on))
        target = self.expressions[drawn]
        if self.has_neutral:
            target = target.masked_fill(rho < 0.2, 0)
        return target, rho.masked_fill(target == 0, 0)

    def _seed(self, stage: int, step: int) -> None:
        mixed = np.random.SeedSequence((self.config.seed, stage, step)).generate_state(1)
        self.random.manual_seed(int(mixed[0]))

    def _set_learning_rates(self) -> None:
        """Constant in the first half of the run, then linear to zero."""
        factor = min(1.0, 2 * (1 - self.step / self.config.steps))
        for optimiser in (self.generator_optimiser, self.critic_optimiser):
            for group in optimiser.param_groups:
                generator = optimiser is self.generator_optimiser
                base = self.config.lr_generator if generator else self.config.lr_critic
                if self.device.type == "cuda":  # a recorded step reads it from there
                    group["lr"].fill_(base * factor)
                else:
                    group["lr"] = base * factor

    def _blend(self, averaged: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        """The moving average, whose memory grows, so that it soon forgets the start."""
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(averaged, current, _)

    def _row(self, step: int, values: dict[str, Tensor]) -> dict[str, float]:
        """A row of the history; all values come from the device in one go."""
        numbers = torch.stack([value.detach().float() for value in values.values()]).cpu()
        row = dict(zip(values, distributed.mean(numbers).tolist(), strict=True))
        for name, number in row.items():
            if not math.isfinite(number):
                raise _diverged(f"{name} is {number} at step {step}")
        return {"step": step, **row}

    def _record(self, row: dict[str, float]) -> None:
        row["seconds"] = round(self.seconds, 3)
        self.history.append(row)
        if self.folder:
            try:
                with open(self.folder / "history.csv", "a", newline="") as file:
                    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            except OSError as error:
                raise OSError(
                    f"Could not write {self.folder / 'history.csv'} ({error.strerror}); if the "
                    f"folder is there again, resume from its last checkpoint."
                ) from error

    def _show(self, bar: tqdm, row: dict[str, float]) -> None:
        """Move the bar; now and then draw a sample grid."""
        names = ("accuracy_real", "accuracy_fake", "gap", "change", "generator_rec")
        bar.set_postfix({name: f"{row[name]:.3f}" for name in names if name in row}, refresh=False)
        bar.update()
        if self.folder and row["step"] > 0 and row["step"] % max(1, self.config.steps // 40) == 0:
            with write_atomically(self.folder / "samples" / f"{self.step:06d}.png") as file:
                Image.fromarray(self.sample_grid()).save(file, "PNG")

    @torch.no_grad()
    def sample_grid(self, rho: float = 1.0) -> np.ndarray:
        """Sample faces (rows) and the averaged generator's edits to each expression.

        Returns
        -------
        ndarray of shape (height, width, 3)
            uint8; the first column is the input.
        """
        x = self.samples  # (4, 3, H, W)
        columns = [x]
        for label in self.expressions:
            z = encode(label.expand(len(x)), rho).to(self.device)
            columns.append(self.model(x, z))
        faces = torch.stack(columns, 1).flatten(0, 1)  # (4 * 9, 3, H, W)
        grid = make_grid(faces.clamp(-1, 1), nrow=len(columns), padding=1)
        return grid.add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def save(self) -> None:
        """Write ``checkpoint.pt`` to the folder, if there is one.

        Raises
        ------
        OSError
            If it cannot be written; the previous one is unharmed.
        FloatingPointError
            If a weight is no longer a number; nothing is written.
        """
        if self.folder is None:
            return
        parts = self._parts()
        for part in (self.generator, self.critic):
            if not all(weight.isfinite().all() for weight in part.parameters()):
                raise _diverged(f"a weight is not finite at step {self.step}")
        if not self.history:
            with write_atomically(self.folder / "history.csv") as file:
                file.write((",".join(COLUMNS) + "\n").encode())
        progress = {key: getattr(self, key) for key in PROGRESS}
        checkpoints.save(
            self.folder / "checkpoint.pt",
            {
                "config": self.config.to_dict(),
                "expressions": list(EXPRESSIONS),
                "progress": progress,
                **{name: part.state_dict() for name, part in parts.items()},
            },
        )

    @classmethod
    def resume(
        cls,
        folder: str | os.PathLike,
        data: Faces,
        config: Config | None = None,
        device: str | torch.device | None = None,
        test: Faces | None = None,
        compile: bool = False,
    ) -> Self:
        """Continue a run as if it had never stopped.

        Parameters
        ----------
        folder : path
            The folder of the run.
        data, device, test
            As for `Trainer`; the same data, or it is another run.
        config : Config, optional
            What the run is expected to be; default: whatever it was.

        Returns
        -------
        Trainer

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no checkpoint, or it is damaged or of another configuration, or the
            history does not belong to it.
        """
        folder = Path(folder)
        saved = checkpoints.load(folder / "checkpoint.pt", config)
        trainer = cls(Config.from_dict(saved["config"]), data, None, device, test, compile)
        trainer.folder = _writable(folder)
        with checkpoints.fitting(folder / "checkpoint.pt"):
            for name, part in trainer._parts().items():
                part.load_state_dict(saved[name])
            for key, kind in PROGRESS.items():
                setattr(trainer, key, kind(saved["progress"][key]))
        for optimiser in (trainer.generator_optimiser, trainer.critic_optimiser):
            for group in optimiser.param_groups:  # it may have been saved on another device
                group["capturable"] = trainer.device.type == "cuda"
                if group["capturable"]:
                    group["lr"] = torch.tensor(float(group["lr"]), device=trainer.device)
        trainer._read_history(folder / "history.csv")
        return trainer

    def _parts(self) -> dict[str, Any]:
        """All that learns, by its name in a checkpoint."""
        names = ["generator", "critic", "average", "generator_optimiser", "critic_optimiser"]
        names += ["scaler"] if self.scaler.is_enabled() else []
        return {name: getattr(self, name) for name in names}

    def _read_history(self, path: Path) -> None:
        """Keep the rows up to the checkpoint; those after it will be written again."""
        steps = range(1 - self.warmup_steps, 1 - self.warmup_steps + self.warmup_step + self.step)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                table = list(islice(csv.DictReader(file), len(steps)))
            self.history = [_numbers(row) for row in table]
            whole = [row["step"] for row in self.history] == list(steps)
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            whole = False
        if not whole:
            raise ValueError(
                f"{path} does not hold the {len(steps)} steps that the checkpoint beside it "
                f"counts; bring back the file that was written with it."
            )
        if self.folder:
            for leftover in self.folder.rglob(".*.part"):  # of a process that was killed
                leftover.unlink()
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
            with write_atomically(path) as file:
                file.write(text.getvalue().encode())


def augment(x: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Disturb all that the critic sees a little, differentiably.

    It keeps the generator from passing classes to the critic by a tint or a faint pattern
    instead of an expression.

    Parameters
    ----------
    x : Tensor of shape (B, 3, H, W)
    strength : float
        1: gain and offset of each colour channel by up to 0.1, a shift by up to 2 pixels, noise
        of standard deviation 0.08. 0: nothing.
    random : torch.Generator
        On the device of x.

    Returns
    -------
    Tensor of shape (B, 3, H, W)
    """
    if strength == 0:
        return x
    batch, channels, height, width = x.shape
    on = {"generator": random, "device": x.device}
    whole = batch * distributed.processes()
    gain, offset = strength * (0.2 * mine(torch.rand(2, whole, channels, 1, 1, **on), 1) - 0.1)
    reach = round(2 * strength)
    shift = mine(torch.randint(-reach, reach + 1, (whole, 2), **on))  # pixels
    still = torch.eye(2, device=x.device).expand(batch, 2, 2)
    move = torch.stack([2 * shift[:, 0] / width, 2 * shift[:, 1] / height], 1)  # all is 2 wide
    positions = F.affine_grid(torch.cat([still, move[:, :, None]], 2), x.shape, False)
    x = F.grid_sample(x, positions, "nearest", "border", align_corners=False)
    noise = mine(torch.randn(whole, channels, height, width, **on))
    return (1 + gain) * x + offset + 0.08 * strength * noise


def _numbers(row: dict[str, str]) -> dict[str, float]:
    """A row of ``history.csv`` as `Trainer.history` has it; ValueError if it is none."""
    if not row.keys() <= set(COLUMNS):
        raise ValueError(f"Unknown columns {sorted(map(str, row.keys() - set(COLUMNS)))}.")
    numbers = {key: float(value) for key, value in row.items() if value}
    return {**numbers, "step": int(row["step"]), "seconds": float(row["seconds"])}


def _check_limits(steps: int | None, minutes: float | None) -> None:
    if not (steps is None or (isinstance(steps, Integral) and steps >= 0)):
        raise ValueError(f"steps must be a whole number, 0 or more; got {steps!r}.")
    if not (minutes is None or (isinstance(minutes, Real) and minutes >= 0)):
        raise ValueError(f"minutes must be a number, 0 or more; got {minutes!r}.")


def _writable(folder: str | os.PathLike | None) -> Path | None:
    """The folder as a path, in the one process that writes to it."""
    return Path(folder) if folder is not None and distributed.rank() == 0 else None


def _codes(expression: Tensor, rho: Tensor) -> Tensor:
    """The codes of `encode`, (B, 8), without its checks; NaN where the intensity is unknown."""
    neutral = (expression == 0) & ~rho.isnan()  # (B,)
    return F.one_hot(expression, N) * rho.masked_fill(neutral, 0)[:, None]


def _adam(network: nn.Module, learning_rate: float, device: torch.device) -> torch.optim.Adam:
    # One fused pass over all weights: five times as fast on a CPU.
    options = {"betas": (0.5, 0.999), "fused": True}
    if device.type == "cuda":  # for recorded steps
        options["capturable"] = True
        learning_rate = torch.tensor(learning_rate, device=device)
    return torch.optim.Adam(network.parameters(), learning_rate, **options)


def _minimise(loss: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.GradScaler) -> None:
    optimiser.zero_grad()
    scaler.scale(loss).backward()
    distributed.average_gradients(optimiser)
    scaler.step(optimiser)
    scaler.update()


def _accuracy(logits: Tensor, label: Tensor) -> Tensor:
    return (logits.argmax(1) == label).float().mean()


def _explained(error: RuntimeError, config: Config) -> Exception:
    """Too little memory in a sentence; any other error as it is."""
    if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
        return error
    return MemoryError(
        f"The device has too little memory for a batch of {config.batch_size} faces of "
        f"{config.image_size} pixels and a width of {config.width}. The last checkpoint, if there "
        f"is one, is unharmed; free memory and resume, or begin a run with smaller ones."
    )


def _diverged(what: str) -> FloatingPointError:
    return FloatingPointError(
        f"Training diverged: {what}. The last checkpoint, if there is one, is unharmed; lower "
        f"the learning rates or raise lambda_gp or lambda_r1 in a new run."
    )


@contextmanager
def _patient_interrupt() -> Iterator[list]:
    """Let Ctrl-C wait: yields a list that is no longer empty once it was pressed."""
    pressed: list[bool] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # only the main thread receives signals
        return
    previous = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
