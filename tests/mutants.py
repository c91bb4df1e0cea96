"""Faults that the unit tests must notice, each planted alone in a copy of the repository.

    python tests/mutants.py                # all rooms; about two hours on two cores
    python tests/mutants.py losses ...     # these rooms only

A mutant is one line of a room with a mistake that a person could make. A room is a file or a folder
of the package, or data_prep. The tests of its room, ``tests/test_ROOM.py`` (and `MORE_TESTS`), must
fail ("killed"); if they pass, it survived, they are too weak, and the exit status is 1.
``test_mutants.py`` keeps this list in step with the code.
"""

import argparse
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 2
MORE_TESTS = {
    "ablation": ["results"],
    "data_prep": ["layouts", "report", "journal"],
    "training": ["distributed"],
}
PATIENCE = 600  # seconds; a fault may also show as a run without end


class Mutant(NamedTuple):
    file: str  # "losses", or "faces/dice" where the room is a folder
    old: str  # occurs exactly once in the file
    new: str
    breaks: str

    @property
    def room(self):
        return self.file.split("/")[0]

    @property
    def path(self):
        """Of the file, relative to the root."""
        inside = "" if self.room == "data_prep" else "mmagan_lite"
        return Path(inside, f"{self.file}.py")


class Verdict(NamedTuple):
    mutant: Mutant
    word: str  # "killed", "SURVIVED" or "BROKEN": the tests did not even start
    detail: str


def room(file, *faults):
    return [Mutant(file, *fault) for fault in faults]


MUTANTS = [
    *room(
        "attention",
        ("affine=True, track", "affine=False, track", "norms without scale and shift"),
        ("running_stats=False", "running_stats=True", "running statistics change eval()"),
        ("        nn.ReLU(),\n", "        nn.Identity(),\n", "no ReLU inside the residual body"),
        ("max(channels // reduction, 4)", "max(channels // reduction, 1)", "too few hidden units"),
        ("features.mean((2, 3))", "features.amax((2, 3))", "average pooling takes the maximum"),
        ("features.amax((2, 3))", "features.amin((2, 3))", "maximum pooling takes the minimum"),
        ("average) + self.mlp", "average) - self.mlp", "sign between the two pooled paths"),
        ("features.mean(1, keepdim", "features.sum(1, keepdim", "scale of the spatial average"),
        ("features.amax(1, keepdim", "features.abs().amax(1, keepdim", "largest absolute value"),
        ("torch.cat([average, maximum]", "torch.cat([maximum, average]", "order of the two maps"),
        ("e0 = F.relu(self.enter(x))", "e0 = self.enter(x)", "no ReLU on the first scale"),
        ("d2 = F.relu(self.middle(e2))", "d2 = e2", "the deepest scale's convolution is left out"),
        ("F.interpolate(d2, scale_factor=2)", 'F.interpolate(d2, scale_factor=2, mode="bilinear")',
         "another interpolation"),
        ("scale_factor=2))) + e1", "scale_factor=2)))", "no skip at half the side"),
        ("scale_factor=2))) + e0", "scale_factor=2))) - e0", "sign of the skip at the full side"),
        ("nn.GroupNorm(1, channels)", "nn.GroupNorm(channels, channels)",
         "a norm for each channel blinds average pooling"),
        ("self.norm(self.leave(d0))", "self.leave(d0)", "the encoder-decoder without its norm"),
        (" + self.encoder_decoder(x)", " + self.encoder_decoder(self.body(x))",
         "ED after Body instead of beside it"),
        ("features * channel[:, :, None, None]", "features * (1 - channel[:, :, None, None])",
         "channel attention turned inside out"),
        ("self.spatial_attention(features)  #", "self.spatial_attention(x)  #",
         "spatial attention looks at the input"),
        ("return x + features * spatial", "return features * spatial", "no residual"),
        ("Attention(channel, spatial)\n", "Attention(spatial, channel)\n", "the two maps swapped"),
        ("isinstance(network, ChannelAttention | SpatialAttention)",
         "isinstance(network, ChannelAttention)", "He's initialisation touches a gate"),
        ("kaiming_normal_(network.weight, negative_slope)",
         'kaiming_normal_(network.weight, negative_slope, "fan_out")', "fan-out instead of fan-in"),
        ("nn.init.zeros_(network.bias)", "nn.init.ones_(network.bias)", "biases start at one"),
        ("he_initialise(child, negative_slope)", "he_initialise(child)", "the slope is forgotten"),
    ),
    *room(
        "generator",
        ("return x + self.body(x)", "return self.body(x)", "a residual block without its residual"),
        ("width, 7, padding=3, bias=not", 'width, 7, padding=3, padding_mode="reflect", bias=not',
         "reflection padding erases z"),
        ("bias=not stem_norm", "bias=stem_norm", "the bias of the stem"),
        ("if stem_norm else nn.Identity", "if not stem_norm else nn.Identity", "the norm's switch"),
        ("MMARM if config.mmarm", "MMARM if not config.mmarm", "the ablation's switch"),
        ("for _ in range(config.blocks)", "for _ in range(1)", "one block whatever was asked for"),
        ("if config.he_init:", "if not config.he_init:", "the initialisation's switch"),
        (".weight.mul_(0.1)", ".weight.mul_(1.0)", "does not start near the identity"),
        ("if config.global_residual:", "if not config.global_residual:", "small start, wrong case"),
        ("torch.cat([x, z_map], 1)", "torch.cat([z_map, x], 1)", "order of the input's channels"),
        ("h, looked_at = block(h)", "_, looked_at = block(h)", "a block's result is thrown away"),
        ("attention.append(looked_at)", "attention.insert(0, looked_at)", "maps in reverse order"),
        ("torch.tanh(self.decoder(h))", "self.decoder(h)", "no tanh"),
        ("y = y + x", "y = y - x", "sign of the global residual"),
        ("if self.config.global_residual:", "if True:", "a residual that cannot be switched off"),
        ("2, padding=1, bias=False)\n    return conv, instance_norm(out_channels), nn.ReLU()\n\n\n"
         "def _up", "2, padding=1, bias=False)\n    return conv, instance_norm(out_channels), "
         "nn.LeakyReLU(0.2)\n\n\ndef _up", "leaky ReLUs on the way down"),
        ("x.shape[2] % 16 or x.shape[3] % 16", "x.shape[2] % 16", "the width is not checked"),
        ("z.shape != (len(x), N)", "z.shape[1:] != (N,)", "one code for many images passes"),
    ),
    *room(
        "discriminator",
        ("NEGATIVE_SLOPE = 0.01", "NEGATIVE_SLOPE = 0.2", "slope of the leaky ReLUs"),
        ("min(2**i, 16)", "min(2**i, 8)", "channels stop doubling too early"),
        ("N, 2, bias=False)\n        self.cor", "N, 2)\n        self.cor", "a head with a bias"),
        ("1, 3, padding=1, bias=False)", '1, 3, padding=1, bias=False, padding_mode="reflect")',
         "padding of the patch head"),
        ("if config.he_init:", "if not config.he_init:", "the initialisation's switch"),
        ("if config.conditional_patches:", "if not config.conditional_patches:",
         "the condition's switch"),
        ("nn.init.zeros_(self.embedding.weight)", "nn.init.ones_(self.embedding.weight)",
         "the critic starts conditional"),
        ("src = src + (v", "src = src - (v", "sign of the projection"),
        ("(v * features).sum(1", "(v * features).mean(1", "scale of the projection"),
        ("return src, self.cls(face).flatten(1), self.cor(face)",
         "return src, self.cor(face).flatten(1), self.cls(face)", "the heads swapped"),
        ("(conv.kernel_size[0] - 1) * step", "conv.kernel_size[0] * step", "the patch's size"),
        ("step *= conv.stride[0]", "step += conv.stride[0]", "strides add up"),
        ("out_channels, 4, stride=2, padding=1)\n", "out_channels, 4, stride=2, padding=1, "
         'padding_mode="reflect")\n', "padding of the trunk"),
        ("nn.Sequential(conv, nn.LeakyReLU", "nn.Sequential(conv, nn.InstanceNorm2d(out_channels), "
         "nn.LeakyReLU", "a norm in the critic"),
    ),
    *room(
        "distributed",
        ("total(x) / processes()", "total(x)", "sums for means"),
        ("gradient.copy_(part.view_as(gradient))", "pass", "averages that nobody uses"),
        (".select(dim + 1, rank())", ".select(dim + 1, 0)", "all take the same part"),
        ("unflatten(dim, (-1, processes())).select(dim + 1, rank())",
         "unflatten(dim, (processes(), -1)).select(dim, rank())", "of two batches one each"),
        ("mine(batch).copy_(part", "batch[: len(part)].copy_(part", "rows of others added up"),
        ("total(chosen.sum()).clamp(min=1) / processes()", "chosen.sum().clamp(min=1)",
         "each process has counts of its own"),
        (".clamp(min=1) / processes()", ".clamp(min=1)", "losses shrink with more processes"),
        ("if images % processes()", "if False", "batches that cannot be shared pass"),
        ("x = x.detach().clone()", "x = x.detach()", "what was given changes"),
        ("except RuntimeError as error", "except ValueError as error", "no word on a lost process"),
        ("yield number == 0", "yield True", "every process prints"),
        ("dist.get_rank() if processes() > 1 else 0", "0", "every process is the first"),
        ('store.add("said", 1) == 1', 'store.add("said", 1) >= 1', "an error said by all"),
        ("                say(GONE)\n", "", "a process ends in silence"),
        ("bool(total(torch.tensor(int(bool(flag)))))", "bool(flag)", "each process has its limits"),
    ),
    *room(
        "losses",
        ("real_scores.mean() - fake_scores.mean()", "fake_scores.mean() - real_scores.mean()",
         "sign of equation (1)"),
        ("real_scores.mean() -", "real_scores.sum() -", "sum over patches"),
        ("clamp(max=1)", "clamp(max=0)", "hinge of the real scores"),
        ("clamp(min=-1)", "clamp(max=-1)", "hinge of the fake scores on the wrong side"),
        ("(x - reconstructed).abs()", "(x - reconstructed).square()", "equation (2) squared"),
        ("F.pad(logits, (0, 1))", "F.pad(logits, (1, 0))", "the class of fakes comes first"),
        ("F.cross_entropy(logits, target)", "F.cross_entropy(logits, target, label_smoothing=0.1)",
         "softened labels"),
        ("z.isnan().any(1)", "z.isnan().all(1)", "codes with one unknown coordinate take part"),
        ("error.square().sum() / distributed.count(known)",
         "error.square().sum() / 8 / distributed.count(known)",
         "mean over coordinates instead of a sum"),
        ("/ distributed.count(known)", "/ known.sum()", "0 / 0 where nothing is known"),
        ("logits.softmax(1).amax(1)", "logits.softmax(0).amax(1)", "softmax over the batch"),
        ("return cor.amax(1)", "return cor.mean(1)", "the mean coordinate"),
        ("expressive = rho > 0", "expressive = rho >= 0", "neutral targets take part"),
        ("/ distributed.count(expressive)", "/ len(rho)", "averaged over neutral images too"),
        ("whole, 1, 1, 1, gen", "whole, 3, 1, 1, gen", "one fraction a channel"),
        ("alpha * real + (1 - alpha) * fake", "alpha * real + alpha * fake", "no interpolate"),
        ("norm(dim=1)", "square().sum(1)", "the squared slope"),
        ("(slope - 1).square()", "(slope - 1).clamp(min=0).square()", "a one-sided penalty"),
        ("(critic, real).square().sum(1)", "(critic, real).norm(dim=1)",
         "R1 without the square"),
        ("images.detach().requires_grad_()", "images.requires_grad_()", "no detach"),
        (".reshape(len(images), -1).mean(1)", ".reshape(len(images), -1).sum(1)",
         "the sum of the patches' scores"),
        ("create_graph=True", "create_graph=False", "a penalty without a gradient"),
        ("+ config.lambda_rec * rec", "+ config.lambda_cls * rec", "another term's weight"),
        ("+ config.lambda_rho * rho", "- config.lambda_rho * rho", "sign in equation (7)"),
        ("        -adv\n", "        adv\n", "the critic minimises equation (1)"),
        ("+ config.lambda_gp * gp", "+ config.lambda_gp + gp", "the penalty's weight is added"),
        ("+ config.lambda_r1 * r1", "+ config.lambda_r1 * gp", "R1 is forgotten"),
        ("(scores - wanted).square()", "(scores - wanted).abs()", "least squares without a square"),
        ("(scores - wanted).square()", "(scores + wanted).square()", "scores should be -1"),
        ("(scores - wanted).square().mean()", "(scores - wanted).square().sum()",
         "least squares summed over patches"),
        ("(rec + identity / 2)", "(rec + identity)", "the identity's weight"),
        ("return adv + config.lambda_rec * (rec", "return adv + config.lambda_cls * (rec",
         "another term's weight in CycleGAN's total"),
        ("return adv + config.lambda_rec", "return -adv + config.lambda_rec",
         "CycleGAN's generators help their critics"),
    ),
    *room(
        "training",
        ("y.detach(), target, z", "y, target, z", "the critic's loss reaches the generator"),
        ("src_x.detach(), z_back", "src_x, z_back", "the generator's loss reaches real scores"),
        ("cor_x.detach().clamp(0, 1)", "cor_x.clamp(0, 1)", "the way back is not detached"),
        ("cor_x.detach().clamp(0, 1)", "cor_x.detach()", "no clamp of the way back"),
        ("z_back = _codes(own, ", "z_back = _codes(target, ", "StarGAN's way back leads nowhere"),
        ("self.critic.requires_grad_(False)", "self.critic.requires_grad_(True)",
         "the generator's step leaves gradients in the critic"),
        ("self.critic.requires_grad_(True)", "self.critic.requires_grad_(False)",
         "the critic stays frozen"),
        ("generator_total(config, **terms), self.generator_optimiser, ",
         "generator_total(config, **terms), self.critic_optimiser, ",
         "the wrong optimiser"),
        ("    optimiser.zero_grad()\n", "", "gradients pile up"),
        ('"betas": (0.5, 0.999)', '"betas": (0.9, 0.999)', "Adam's momentum"),
        ("z = _codes(target, rho)", "z = _codes(target, rho**0)", "the intensity is ignored"),
        ("rho.masked_fill(neutral, 0)", "rho", "neutral faces at some intensity"),
        ("self._edit(x, z)  # (B", "self._edit(x, z.flip(0))  # (B", "the codes mixed up"),
        ("self.average.update_parameters(self.generator)\n", "pass\n", "no moving average"),
        ("self.random).chunk(2)", "self.random).flip(0).chunk(2)", "real and fake swapped"),
        ("torch.cat([own, target])", "torch.cat([own, own])", "fakes judged by another label"),
        ("losses.hinge_adversarial if hinge", "losses.hinge_adversarial if not hinge",
         "the form of equation (1)"),
        ("losses.classification(cls_x, own, fake", "losses.classification(cls_y, own, fake",
         "the critic learns classes on fakes"),
        ("losses.condition_regression(cor_y, z)  #", "losses.condition_regression(cor_x, z)  #",
         "equation (5) on real images"),
        ('terms["info"] + losses.condition_regression(cor_x, z_own)',
         "losses.condition_regression(cor_x, z_own)", "equation (5) on real images only"),
        ("torch.full_like(target, losses.FAKE)", "torch.full_like(target, 0)", "fakes are neutral"),
        ("losses.gradient_penalty(lambda x: critic(x, own)[0], x, y",
         "losses.gradient_penalty(lambda x: critic(x, own)[0], x, x", "no interpolates"),
        ("config.r1_every * losses.r1", "losses.r1", "R1 rarely and not in proportion"),
        ('values["gap"] = losses.adversarial(src_x, src_y)',
         'values["gap"] = losses.adversarial(src_y, src_x)', "sign of the gap"),
        ("self.random), target)\n", "self.random), target.flip(0))\n",
         "the generator's critic asks for another expression"),
        ("losses.adversarial(src_x, src),", "losses.adversarial(src, src_x),",
         "the generator lowers its scores"),
        ("losses.classification(cls, target, config.fake_class > 0),  # (4)",
         "losses.classification(cls, target),  # (4)", "the generator's ninth class is forgotten"),
        ("self._edit(y, z_back)", "self._edit(x, z_back)", "back from the input"),
        ("losses.intensity(rho_hat, rho)", "losses.intensity(rho_hat, 1 - rho)", "rho upside down"),
        ('values["change"] = (y - x).abs().mean()', 'values["change"] = (y - x).mean()',
         "signed change"),
        ("condition_regression(cor[0], z_own)\n",
         "condition_regression(cor[0], z_own.nan_to_num())\n",
         "unknown intensities count as zero"),
        ("masked_fill(rho < 0.2, 0)", "masked_fill(rho < 0.5, 0)", "too many neutral targets"),
        ("rho.masked_fill(target == 0, 0)", "rho", "neutral targets with an intensity"),
        ("divmod(self.step, len(labels))", "divmod(self.step + 1, len(labels))",
         "CycleGAN's pairs in another order"),
        ("for label in (0, labels[place])]", "for label in (labels[place], 0)]", "domains swapped"),
        ("zip(ways, ways[::-1], strict=True)", "zip(ways, ways, strict=True)", "no way home"),
        ("draw(there)", "draw(x)", "identity of the wrong domain"),
        ("losses.least_squares(score, 1)", "losses.least_squares(score, 0)",
         "CycleGAN's generators help their critics"),
        ("mine(critics.replay(way, pair, distributed.gather(y), random))", "y", "no replay"),
        ("critics.replay(way, pair,", "critics.replay(0, pair,",
         "one pool for both ways"),
        ("if label != 0]", "if label > 1]", "a pair is left out"),
        ("reconstruction(x, back)", "reconstruction(y, back)", "the cycle ends elsewhere"),
        ("reconstruction(there, same)", "reconstruction(x, same)", "the identity ends elsewhere"),
        ("        critics.requires_grad_(True)\n", "", "CycleGAN's critics stay frozen"),
        ("torch.cat([there, y]), config", "torch.cat([y, there]), config",
         "CycleGAN's critics take real faces for generated ones"),
        ("cyclegan_total(config, **terms), self.generator_optimiser, ",
         "cyclegan_total(config, **terms), self.critic_optimiser, ",
         "the wrong optimiser of CycleGAN's generators"),
        ("fake.detach()) / 2", "fake.detach())", "twice the gap"),
        ("(torch.cat(drawn) - torch.cat(domains)).abs()",
         "(torch.cat(drawn) - torch.cat(domains[::-1])).abs()", "change from the other domain"),
        ("(self.data.expression == label).nonzero", "(self.data.expression >= label).nonzero",
         "domains of several expressions"),
        ("and 0 not in data.expression", "and 1 not in data.expression",
         "data without neutral faces pass"),
        ('half, enabled=precision != "float32"', "half, enabled=False", "float32 always"),
        ('half, enabled=precision != "float32"', "half, enabled=True", "bfloat16 always"),
        ('torch.float16 if precision == "float16"', "torch.float16 if not precision", "no float16"),
        ("scaler.scale(loss).backward()", "loss.backward()", "gradients without the scale"),
        ("losses.r1_penalty(lambda x: critic(x, own)[0], x)",
         "losses.r1_penalty(lambda x: self._criticise(x, own)[0], x)", "R1 in bfloat16"),
        ("return self.draw(x, z).to(x.dtype)", "return self.draw(x, z)",
         "edits stay bfloat16"),
        ("if config.warmup and reads_classes", "if config.warmup",
         "CycleGAN warms up"),
        ("losses.least_squares(fake, 0)) / 2", "losses.least_squares(fake, 0))",
         "CycleGAN's critics learn twice as fast"),
        ("min(1.0, 2 * (1", "min(1.0, 1 * (1", "rates fall from the start"),
        ("((self.config.seed, stage, step))", "((self.config.seed, stage, 0))",
         "every step draws the same"),
        ("(1 + self.step) / (10 + self.step)", "(10 + self.step) / (1 + self.step)",
         "a memory that does not grow"),
        ("0.08 * strength * noise", "0.8 * strength * noise", "strength of the noise"),
        ("    distributed.average_gradients(optimiser)\n", "", "each process learns alone"),
        ("batch(mine(indices), self", "batch(indices, self", "every process reads the whole batch"),
        ("noise = mine(torch.randn(whole,", "noise = (torch.randn(batch,",
         "all processes draw the same noise"),
        ("distributed.gather(y), random)", "y.repeat(distributed.processes(), 1, 1, 1), random)",
         "CycleGAN's pools hold the images of one process"),
        ("domain[mine(batch_indices(len(domain), count", "domain[(batch_indices(len(domain), count",
         "every process reads the whole domain"),
        ("distributed.mean(numbers).tolist()", "numbers.tolist()", "the history of one process"),
        ("if folder is not None and distributed.rank() == 0", "if folder is not None",
         "every process writes"),
        ("distributed.anyone(interrupted or", "bool(interrupted or", "each process has its limits"),
    ),
    *room(
        "baselines",
        ("labels, width, 7, padding=3, bias=False", "labels, width, 7, padding=3, bias=True",
         "a bias in front of StarGAN's norm"),
        ("labels, width, 7, padding=3,", 'labels, width, 7, padding=3, padding_mode="reflect",',
         "reflection erases StarGAN's label"),
        ("torch.cat([x, c_map], 1)", "torch.cat([c_map, x], 1)", "order of the input's channels"),
        ("torch.tanh(self.decoder(self.blocks(h)))", "torch.tanh(self.decoder(h))", "no blocks"),
        ("c.shape != (len(x), self.labels)", "c.shape[1:] != (self.labels,)", "codes go uncounted"),
        ("- 1, 6)", "- 1, 7)", "a seventh layer at 256 pixels"),
        ("config.critic_width * 2**i", "config.critic_width * min(2**i, 16)", "a cap on channels"),
        ("channels[-1], 1, 3, padding=1, bias=False", "channels[-1], 1, 3, padding=1",
         "a bias in StarGAN's patch head"),
        ("nn.Conv2d(*pair, 4, stride=2, padding=1), nn.LeakyReLU(NEGATIVE_SLOPE)",
         "nn.Conv2d(*pair, 4, stride=2, padding=1), nn.ReLU()", "ReLUs in StarGAN's critic"),
        ("return src, self.cls(h)", "return src, -self.cls(h)", "logits' sign"),
        ('nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")',
         "nn.Conv2d(3, width, 7, padding=3)", "zero padding in CycleGAN's stem"),
        ('nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect")',
         "nn.Conv2d(width, 3, 7, padding=3)", "zero padding in CycleGAN's last layer"),
        ('channels, 3, padding=1, padding_mode="reflect"', "channels, 3, padding=1",
         "zero padding in CycleGAN's blocks"),
        ("h = h + body(h)", "h = (h + body(h)).relu()", "an activation after the sum"),
        ("NEGATIVE_SLOPE = 0.2 ", "NEGATIVE_SLOPE = 0.01 ", "slope of CycleGAN's critic"),
        ("(4 * width, 1))", "(4 * width, 2))", "one stride too many: the patch is not 70 pixels"),
        ("nn.InstanceNorm2d(2 * channels)", "instance_norm(2 * channels)", "scale and shift"),
        ("return conv, nn.InstanceNorm2d(conv.out_channels), nn.ReLU()",
         "return conv, nn.InstanceNorm2d(conv.out_channels, track_running_stats=True), nn.ReLU()",
         "running statistics"),
        ("second, nn.InstanceNorm2d(channels))", "second)", "no norm at the end of a block"),
        ("parameter, std=0.02", "parameter, std=0.2", "scale of CycleGAN's start"),
        ("height % multiple or width % multiple", "height % multiple", "the width is not checked"),
        ("src = src + (v", "src = src - (v", "sign of the projection"),
        ("(v * h).sum(1", "(v * h).mean(1", "scale of the projection"),
        ("if config.conditional_patches:", "if True:", "a condition that cannot be switched off"),
        ("nn.init.zeros_(self.embedding.weight)", "nn.init.ones_(self.embedding.weight)",
         "the critic starts conditional"),
        ("F.one_hot(expression, N).to(x.dtype)", "z.to(x.dtype)",
         "StarGAN gets an intensity and no code for neutral"),
        ("((self.back, source), (self.forth, target))",
         "((self.forth, target), (self.back, source))", "forth before back"),
        ("((self.back, source), (self.forth, target))",
         "((self.forth, source), (self.back, target))", "the two ways swapped"),
        ("(label == 1 + i)", "(label == i)", "the neighbour's generator"),
        ("(label == 1 + i) & needed", "(label == 1 + i)", "to neutral and back for nothing"),
        ("torch.zeros_like(target) if source", "torch.ones_like(target) if source",
         "faces are taken for happy ones"),
        ("generator(y[chosen]).to", "generator(x[chosen]).to", "not through neutral"),
        ("y = x.clone()", "y = x", "the input is painted over"),
        ("shown = images.clone()", "shown = images", "what was drawn is painted over"),
        ("coin < 0.5", "coin < 0.6", "more old images than new ones"),
        ("int(place * self.POOL)", "int(place * 2)", "two places of the pool only"),
        ("slot, old = filled, False\n", "slot, old = filled, coin < 0.5\n",
         "black images while the pool fills"),
        ("filled < self.POOL:", "filled < self.POOL - 1:", "a pool that is never full"),
        ("self.pooled[way, pair] += 1", "self.pooled[way] += 1", "pairs fill each other's pools"),
        ("kept = self.pool[way, pair, slot]", "kept = self.pool[0, pair, slot]",
         "one pool for both ways"),
        ("mul(127.5).round())", "mul(127.5).add(0.9))", "the pool rounds upwards"),
        ("kept.to(images.dtype) / 127.5 - 1", "kept.to(images.dtype) / 255", "images in [0, 1]"),
        ("dtype=torch.uint8)\n", "dtype=torch.uint8), persistent=False\n",
         "the pool does not survive"),
        ('"stargan": (StarGAN, StarGANDiscriminator)', '"stargan": (StarGAN, Discriminator)',
         "StarGAN learns from our critic"),
    ),
    *room(
        "evaluation",
        ("(expression == 0) & (data.expression == 0)", "(expression == 0) & (data.expression != 0)",
         "neutral faces are asked to become neutral"),
        ("right.where(strong)", "right.where(~strong)", "weak expressions counted as strong"),
        ('1 - sums["error"] / sums["error_input"]', '1 - sums["error_input"] / sums["error"]',
         "the error removed upside down"),
        ('means["rho_error_2"] = (faces["rho_read_2"]', 'means["rho_error_2"] = (faces["rho_read"]',
         "the first judge speaks for the second"),
        ("groups[blocks].mean().max(axis=1)", "groups[blocks].max().max(axis=1)",
         "the best face instead of the best block"),
        ("structural_similarity(a, b, channel_axis=2)",
         "structural_similarity(a, b, channel_axis=2, gaussian_weights=True)",
         "SSIM over another window"),
        ("((change * same).sum((1, 2)) / same", "(change.sum((1, 2)) / same",
         "changes inside count as outside"),
        ("network(reference, y).flatten()", "network(y, y).flatten()",
         "LPIPS of an image to itself"),
        ("auc(gates[:, 0], ~same)", "auc(gates[:, 0], same)",
         "gates where nothing should change"),
        ("gates.shape[1:])[:, 0] > 0.5", "gates.shape[1:])[:, 0] >= 0.5", "half a cell is inside"),
        ("source = data.expression[indices]", "source = data.expression[indices].flip(0)",
         "CycleGAN is told another face's expression"),
        ("outputs[name] = _as_seen(y)", "outputs[name] = y", "outputs that nobody can see"),
        ("features = [], {}\n    for edits in _edits(model, data, seed, batch_size):",
         "features = [], {}\n    for edits in [*_edits(model, data, seed, batch_size)]:",
         "all images in memory at once"),
        ("masks[name] = moved & free", "masks[name] = moved", "regions that overlap"),
        ('(error * mask).sum((1, 2)).tolist()', '(error * mask).mean((1, 2)).tolist()',
         "a mean error beside a sum"),
        ("(edits.indices + len(data) // 2) % len(data)", "edits.indices",
         "real faces of the same people"),
        ("_levels(image[:most] + 1)", "_levels(image + 1)", "features of more images than allowed"),
        ("reference[own == c], fakes[chosen]", "reference[chosen], fakes[chosen]",
         "photographs with another expression"),
        ("pd.DataFrame(to_target).mean(axis=1)", "pd.DataFrame(to_target).max(axis=1)",
         "the worst expression instead of the mean"),
        ("metric.update(both[len(real) :], real=False)",
         "metric.update(both[: len(real)], real=False)",
         "FID of a set to itself"),
        ("with torch.random.fork_rng():  # it shuffles", "with warnings.catch_warnings():  # it",
         "KID changes the caller's random numbers"),
        ("        torch.manual_seed(0)\n", "", "KID of another part every time"),
        ("network.features.pool0 = nn.Identity()", "network.features.pool1 = nn.Identity()",
         "the second judge halves once more"),
        ("_kind(kind)(data.size).to(device)", "Judge(data.size).to(device)",
         "one kind of judge only"),
    ),
    *room(
        "perceptual",
        ("permute(3, 2, 0, 1)", "permute(3, 2, 1, 0)", "kernels on their side"),
        ("pnet_rand=weights is not None", "pnet_rand=True", "a random network in silence"),
        ('except (ImportError, OSError) as error:\n        raise _missing("LPIPS',
         'except ImportError as error:\n        raise _missing("LPIPS',
         "a missing network is a traceback"),
        ("warnings.catch_warnings(), torch.random.fork_rng(devices=[]):",
         "warnings.catch_warnings():", "LPIPS changes the caller's random numbers"),
        ("with torch.random.fork_rng(devices=[]):  # leave",
         "with warnings.catch_warnings():  # leave",
         "Inception changes the caller's random numbers"),
        ("return network.eval().requires_grad_(False)", "return network.eval()",
         "a network that could be trained"),
        ("[str(features)]", '["2048"]', "always the last layer"),
        ('scripted[f"{theirs}.mean"]', 'scripted[f"{theirs}.beta"]', "statistics mixed up"),
        ("if hashlib.sha256(content).hexdigest() != sha256:", "if not content:",
         "a damaged file is read"),
        ('if (module, name) not in (("numpy", "ndarray"), ("numpy", "dtype")):',
         'if module != "numpy":', "all of NumPy may be called"),
    ),
    *room(
        "ablation",
        ('"no-residual": dict(global_residual=False)', '"no-residual": dict(mmarm=False)',
         "another ablation than shipped"),
        ("config.replace(seed=seed).replace(**ROWS[row])", "config.replace(**ROWS[row])",
         "the same seed for all"),
        (".step == wanted.steps", ".step <= wanted.steps", "a stopped run passes for complete"),
        ('load_model(Path(runs) / f"{r}-{s}")', 'load_model(Path(runs) / f"{r}-0")',
         "one seed measured under every name"),
        ('"rho_read_truth": "rho_read", "change_truth": "change"',
         '"rho_read_truth": "change", "change_truth": "rho_read"', "columns of the sweep swapped"),
        ("whole.round(5)", "whole.round(1)", "results to one digit"),
        ("/ 2\n\n\ndef load_rows", "\n\n\ndef load_rows", "the spread is twice as large"),
        ("groupby(level=keys, sort=False)", "groupby(level=keys)", "rows in another order"),
        ("_weights_name(row, config.image_size),", 'f"{row}-{config.image_size}",',
         "a row takes the place of the generator that is trained longer"),
        ('measured["table"].loc[row, seed]', 'measured["table"].loc[row, 0]',
         "another seed's figures ship"),
        ("warmup + config.batch_size", "config.batch_size",
         "images of the warm-up are not counted"),
        ('False: f"--no-{flag}"', 'False: f"--{flag}"', "a command that trains another row"),
        ("for r, name in names.items() if name in known",
         "for r, name in names.items() if r in known",
         "rows that ship are not found"),
    ),
    *room(
        "config",
        ("if getattr(self, key) is _AS_PRESET:", "if True:", "a preset overrides what was named"),
        ("type(value) is int and value", "isinstance(value, int) and value",
         "a switch passes for a number"),
        ("value = float(value)\n", "pass\n", "whole numbers are refused for floats"),
        ("not low <= value <= high", "not low < value <= high", "the lower bound is shut out"),
        ("not low <= value <= high", "value < low or value > high", "NaN is in every range"),
        ('default = "colab" if', 'default = "laptop" if', "a GPU is left alone by default"),
        ('os.environ.get("MMAGAN_PROFILE", default)', "default", "the environment is ignored"),
        ('"precision": _best(), **PROFILES[name], **changes}',
         '**PROFILES[name], **changes, "precision": _best()}', "a precision cannot be chosen"),
        ('if "losses" in changes:', "if not changes:", "switches of the preset before stay"),
        ("{**values, **changes}", "{**changes, **values}", "changes that change nothing"),
        ("if key not in known:", "if False:", "no word on a misspelt field"),
        ("including_emulation=False", "including_emulation=True", "a type that is slow there"),
        ('return "bfloat16" if', 'return "float32" if', "full precision on every GPU"),
        ('"ema_decay": (0, 1)', '"ema_decay": (0, 2)', "an average that grows for ever"),
        ('"seed": (0, ', '"seed": (-1, ', "a seed that NumPy refuses later"),
        ('"variety": (0, 1)', '"variety": (0, 10)', "ten times the variety"),
    ),
    *room(
        "expressions",
        ('"surprise",\n    "fear",', '"fear",\n    "surprise",', "another order than AffectNet's"),
        (" and not isinstance(expression, bool):", ":", "True is happiness"),
        ("if 0 <= expression < N:", "if expression < N:", "labels below 0"),
        ("if 0 <= expression < N:", "if 0 <= expression <= N:", "a ninth expression"),
        ("expression.dtype != torch.bool", "True", "a mask passes for labels"),
        ("if not whole or expression.dim() > 1:", "if not whole:", "a table of labels passes"),
        ("(expression < 0) | (expression >= N)", "expression >= N", "tensors below 0"),
        ("(expression < 0) | (expression >= N)", "(expression < 0) | (expression > N)",
         "a ninth expression in tensors"),
        ("return expression.long()", "return expression", "small integers stay small"),
        ("~((rho >= 0) & (rho <= 1))", "(rho < 0) | (rho > 1)", "NaN passes"),
        ("~((rho >= 0) & (rho <= 1))", "~(rho <= 1)", "negative strength"),
        ("wrong.numel() or rho.dim() > 1", "wrong.numel()", "a table of strengths passes"),
        ("if c.dim() and rho.dim() and len(c) != len(rho):", "if False:",
         "no word on lengths that differ"),
        (".float() * rho.unsqueeze(-1)", ".float()", "full strength always"),
        ("(c != 0).unsqueeze(-1)", "(c != 1).unsqueeze(-1)", "neutral has a direction"),
        ("torch.where(rho > 0, c,", "torch.where(rho > 0.5, c,", "weak expressions are neutral"),
    ),
    *room(
        "checkpoints",
        ("weights_only=True", "weights_only=False", "a checkpoint may run code"),
        ("with write_atomically(path) as file:\n        file.write(buffer",
         'with open(path, "wb") as file:\n        file.write(buffer',
         "a full disk costs the checkpoint before"),
        ('{"config", "progress", "average"} <= contents', '{"config"} <= contents',
         "anything with a configuration passes"),
        ('Config.from_dict(contents["config"]).to_dict()', 'contents["config"]',
         "runs of older versions do not go on"),
        ("config is not None and config.to_dict() != theirs", "config is None",
         "a run goes on with other options"),
        ("if ours.get(key) != theirs.get(key)]", "]", "fields that are equal are listed"),
        ("(wanted {ours.get(k)!r})", "(wanted {theirs.get(k)!r})", "what was wanted is not told"),
        ('Path(said["file"]).name == said["file"]', "True", "weights from anywhere on the disk"),
        ('hexdigest() != entry["sha256"]', 'hexdigest() == ""', "damaged weights pass"),
        ("_cast(load_safetensors(content), torch.float32)", "load_safetensors(content)",
         "weights stay in half precision"),
        ('if entry["kind"] != "generator":', 'if entry["kind"] == "judge":',
         "a critic passes for a generator"),
        ("with fitting(name):", "if True:", "PyTorch's words on weights that do not fit"),
        ("generator.eval().requires_grad_(False)", "generator.requires_grad_(False)",
         "not in eval mode"),
        ("generator.eval().requires_grad_(False)", "generator.eval()",
         "edits that keep their graphs"),
        ("re.fullmatch(", "re.match(", "a name that leads to another folder"),
        ("torch.float16))", "torch.bfloat16))", "another half precision"),
        ("if value.is_floating_point() else value.cpu()", "if True else value.cpu()",
         "counters in half precision"),
        ("{**pretrained_models(), name: entry}", "{name: entry}", "the other weights are lost"),
        ('"size": config.image_size', '"size": config.width', "the wrong size is told"),
    ),
    *room(
        "data",
        ('"judge": 2_000_000', '"judge": 1_000_000', "the judge knows the test's people"),
        ("FACES_PER_IDENTITY = 4\n", "FACES_PER_IDENTITY = 1\n", "a person has one picture"),
        ("people = -(-faces // FACES_PER_IDENTITY)", "people = faces // FACES_PER_IDENTITY",
         "rounded down, to nobody"),
        ("manual_seed(seed)", "manual_seed(0)", "the seed is ignored"),
        ("0.2 + 0.8 * torch.rand(", "torch.rand(", "intensities that nobody sees"),
        ("rho.masked_fill(self.true_expression == 0, 0)", "rho", "neutral faces are intense"),
        ("(self.expression != 0)] = torch.nan", "(self.expression != 0)] = 0",
         "what is unknown is called nothing"),
        ("{variety} {occlusion} {seed}", "{variety} {occlusion}", "the pictures of another seed"),
        ("{_renderer_version()} {' '", "{' '", "pictures of an older renderer"),
        ("{' '.join(EXPRESSIONS)} {split}", "{split}", "pictures of other expressions"),
        ("self.true_rho[part],\n            self.nuisance[part],",
         "self.true_rho[part],\n            self.identity[part],", "one photograph a person"),
        ("image.mul(255).round()", "image.mul(255)", "levels rounded down"),
        (".div_(127.5).sub_(1)", ".div_(255)", "images in [0, 1]"),
        ("there.dtype == np.uint8 and there.shape == (len(self), 3, self.size, self.size)",
         "there.dtype == np.uint8", "a cache of another shape passes"),
        ('row["subject"] or row["file_name"]', 'row["subject"]', "all strangers are one person"),
        ("RESAMPLING = Image.Resampling.BILINEAR", "RESAMPLING = Image.Resampling.NEAREST",
         "pixels are dropped instead of averaged"),
        ("return pixels.transpose(2, 0, 1)", "return pixels[..., ::-1].transpose(2, 0, 1)",
         "red and blue swapped"),
        ("start = first - epochs[0] * length", "start = 0", "every epoch starts anew"),
        ("default_rng((seed, epoch))", "default_rng(seed)", "all epochs in one order"),
        ("if len(found) == 1:", "if False:", "a set of one expression passes"),
        ("> 2 / 3", "> 1 / 3", "the rarer mistake is the more frequent"),
        (' or Path(name).name != name or "\\0" in name', "", "a table reads other folders"),
        ('float(intensities(float(row["intensity"])))', 'float(row["intensity"])',
         "intensities of 7"),
        ("{found.st_size} {found.st_mtime_ns}", "{found.st_size}", "a picture that changed stays"),
        ('if key != "_pixels"}', "}", "all pixels go to every process"),
    ),
    *room(
        "detection",
        ("MIN_PROBABILITY = 0.9 ", "MIN_PROBABILITY = 0.7 ", "collars and ears are faces"),
        ("EYE_LINE = 0.43\nEYE", "EYE_LINE = 0.5\nEYE", "eyes in the middle of the frame"),
        ("EYE_DISTANCE = 0.275", "EYE_DISTANCE = 0.35", "a frame without forehead and chin"),
        ("rotation=-tilt", "rotation=tilt", "turned the wrong way"),
        ("max(np.linalg.norm(across), 0.8 * to_mouth)", "np.linalg.norm(across)",
         "a turned head fills the frame"),
        ("0.8 * to_mouth)", "to_mouth)", "a smile changes the frame"),
        ("key=lambda face: face.area, reverse=True", "key=lambda face: face.area",
         "the smallest face first"),
        ("< 4 * faces[1].area", "< 2 * faces[1].area", "a bystander is overlooked"),
        ("return left_to_right(faces)[number - 1]", "return faces[number - 1]",
         "faces counted by size"),
        ("if not 1 <= number <= len(faces):", "if number > len(faces):", "face 0 is the last"),
        ("_scaled(face, 1 / shrink)", "_scaled(face, 1)", "places in the shrunken picture"),
        ("<= right and top <= y <= bottom", "<= right", "a box without top and bottom"),
        ('"white"), image)', '"black"), image)', "what is transparent becomes black"),
        ("(np.asarray(image) >> 8)", "(np.asarray(image) & 255)", "the lower byte of 16 bits"),
        ("            image = ImageOps.exif_transpose(image)", "            pass",
         "photographs lie on their side"),
        ("if min(image.size) < 16:", "if max(image.size) < 16:", "a picture of one column"),
        ('mode="edge"', 'mode="constant"', "black beside the photograph"),
        ("max(1, round(1 / transform.scale))", "1", "large faces flicker"),
        ("dtype=np.float32) - crop", "dtype=np.float32)", "the whole crop is added"),
        ("result = photo.copy()", "result = photo", "the photograph itself is changed"),
        ("np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5",
         "np.arange(left, right), np.arange(top, bottom)", "half a pixel aside"),
        ("FEATHER = 0.1 ", "FEATHER = 0.01 ", "a seam around the face"),
        ("OVAL_WIDTH = 0.84 ", "OVAL_WIDTH = 1.2 ", "the backdrop is edited, too"),
        (".clip(0, 255, out=sums)", "", "white turns black"),
    ),
    *room(
        "editing",
        ("if z.dim() != 1:", "if False:", "of several strengths one is edited"),
        ("encode(expression, i / (steps - 1))", "encode(expression, i / steps)",
         "a sweep that stops short of 1"),
        ("or steps < 2:", "or steps < 1:", "a sweep of one"),
        ("for change in changes]", "for change in changes.flip(0)]", "the sweep runs backwards"),
        ("and not isinstance(face, bool)", "", "True is the first face"),
        ('None if face == "detect" else face', "None", "the number of a face is ignored"),
        ("if not detection.contains(", "if False and detection.contains(",
         "a face of another photograph"),
        ('(size, size), mode="bicubic", antialias=True)', '(size, size), mode="bicubic")',
         "a large picture flickers"),
        (".clamp(-1, 1)\n    x = x.expand", "\n    x = x.expand", "more than white and black"),
        ("(model(x, z.to(device)) - x).cpu()", "model(x, z.to(device)).cpu()",
         "the face is added to itself"),
        ('change[None], x.shape[2:], mode="bicubic")', "change[None], x.shape[2:])",
         "an edit in blocks"),
        ("if max(width, height) > 1.1 *", "if max(width, height) > 2 *", "faces stretched by half"),
        ("for image in images]).float() / 127.5 - 1", "for image in images]).float() / 255",
         "images in [0, 1]"),
        ("[pil_to_tensor(image) for", "[pil_to_tensor(image).flip(0) for", "red and blue swapped"),
        (".clamp(-1, 1).add(1)", ".add(1)", "white turns black"),
        ("mul(127.5).round().byte()", "mul(127.5).byte()", "levels rounded down"),
        ("generator.eval().requires_grad_(False)", "generator.requires_grad_(False)",
         "not in eval mode"),
        ("generator.eval().requires_grad_(False)", "generator.eval()",
         "edits that keep their graphs"),
        ('path / "checkpoint.pt" if path.is_dir() else path', "path", "no run by its folder"),
    ),
    *room(
        "faces/__init__",
        ("(image[0::2] != image[1::2]).any(1)", "(image[0::2] != image[1::2]).all(1)",
         "changes of one colour do not count"),
        ("canvas = max(size, 128)", "canvas = size", "small pictures are drawn anew"),
        (".mul_(255).round_().div_(255)", "", "levels that no file can hold"),
        ("units = code.to(strengths.device) * strengths[:, None]",
         "units = code.to(strengths.device).expand(len(strengths), -1)",
         "the strength of action units is ignored"),
        ("return tuple(few(batch, which) for batch in drawn)", "return drawn",
         "the photographs of others"),
        ("if not isinstance(share, Real) or not 0 <= share <= 1:",
         "if not isinstance(share, Real) or not share <= 1:", "negative variety"),
    ),
    *room(
        "faces/action_units",
        ('"contempt": {"12R": 0.85', '"contempt": {"12L": 0.85', "contempt lifts the other side"),
        ('(str(unit), f"{unit}L", f"{unit}R")', '(str(unit), f"{unit}L")', "one side of two"),
        ("not 0 <= strength <= 1.5", "not 0 <= strength <= 2", "faces that tear"),
        ("[expression] * rho[:, None]", "[expression] * rho[:, None].sqrt()",
         "weak expressions are strong"),
        ("strengths * (1.4 - 0.4 * strengths)", "strengths * (1.4 + 0.4 * strengths)",
         "early units overdo it at full strength"),
    ),
    *room(
        "faces/dice",
        ("scramble(seeds + 0x9E3779B9 * stream) ^ high", "scramble(seeds) ^ high",
         "occluders hang together with backdrops"),
        ("* stream) ^ high", "* stream)", "people of large seeds are twins"),
        ("self.singles[:, self.throws - 1]", "self.singles[:, 0]", "all throws are one"),
        ("self.spread * (self._unit(1, 1) - 0.5)", "self.spread * self._unit(1, 1)",
         "beyond the upper end"),
        ("self.spread * 2 * (total - 1.5)", "self.spread * (total - 1.5)", "half the deviation"),
        ("< probability * self.spread", "< probability", "rare things are not rarer"),
    ),
    *room(
        "faces/identity",
        ("spread=0.35 + 0.65 * variety", "spread=variety", "without variety one person is left"),
        ("seeds = identity * 0x1003F + nuisance", "seeds = nuisance", "all before one backdrop"),
        ("(1 - 1.25 * melanin)", "(1 - 1.25 * masculine)", "hair does not go with skin"),
        ("bearded = (masculine > 0.55)", "bearded = (feminine > 0.55)", "beards on women"),
        ("grey = ((age - 0.7) * 3.0", "grey = ((0.7 - age) * 3.0", "the young are grey"),
        ("occluded = object_dice.chance(occlusion)", "occluded = object_dice.chance(1.0)",
         "something hides every face"),
    ),
    *room(
        "faces/geometry",
        ("-0.115 * smile - 0.03", "0.115 * smile - 0.03", "a smile pulls the corners down"),
        ('+ 0.085 * a["15"]', '- 0.085 * a["15"]', "the depressor lifts the corners"),
        ('- 0.085 * a["1"] + 0.075 * knit', '+ 0.085 * a["1"] + 0.075 * knit',
         "the raiser lowers the brow"),
        ('- 0.085 * a["1"] + 0.075 * knit', '- 0.085 * a["1"] - 0.075 * knit',
         "the lowerer raises the brow"),
        ("+ 0.34 * wide - 0.44 * droop", "- 0.34 * wide - 0.44 * droop", "wide eyes are closed"),
        ('0.07 * a["26"] + 0.15 * a["27"]', '0.07 * a["26"] - 0.15 * a["27"]',
         "a stretched mouth lifts the chin"),
        ("s = (sign * x - p.eye_distance)", "s = (x - p.eye_distance)", "two right eyes"),
        ("t = (sign * x - inner_x)", "t = (x - inner_x)", "two right brows"),
        ("x, y = across * cos + down * sin, down * cos - across * sin",
         "x, y = across * cos - down * sin, down * cos + across * sin", "turned out of regions"),
        ('"mouth": (-0.72, 0.72, 0.27, 1.50)', '"mouth": (-0.72, 0.72, 0.27, 1.10)',
         "chins cut off"),
        ("left + yaw.clamp(max=0), right + yaw.clamp(min=0)", "left, right",
         "turned heads are cut off"),
        ("plane.y - drop * fall", "plane.y + drop * fall", "the chin rises when the jaw drops"),
    ),
    *room(
        "faces/shapes",
        ("return (3 - 2 * t).mul_(t).mul_(t)", "return t", "edges with corners"),
        ("(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / (2 * pixel)",
         "(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / pixel", "relief twice as steep across"),
        ("image = total / (2 * reach + 1)", "image = total / (2 * reach)", "a blur that brightens"),
    ),
    *room(
        "faces/compositing",
        ("[1 + n.warmth, torch.ones_like(n.warmth), 1 - n.warmth]",
         "[1 - n.warmth, torch.ones_like(n.warmth), 1 + n.warmth]", "warm light is blue"),
        ("facing = (-gx * lx - gy * ly + lz)", "facing = (gx * lx - gy * ly + lz)",
         "light from the other side"),
        ("ly = -torch.sin(n.light_height)", "ly = torch.sin(n.light_height)", "light from below"),
        ("n.exposure * tint", "tint", "all photographs are equally bright"),
        ("    add_glasses(image, p, plane)\n", "", "glasses are forgotten"),
        ("    add_beards(face, p, a, plane)\n", "", "beards are forgotten"),
    ),
    *room(
        "widgets/panel",
        ("for start in range(0, len(tiles), 4)", "for start in range(0, len(tiles), 3)",
         "three pictures a row"),
        ("if _key(self.values()) in self._known:", "if False:", "the browser's frames made again"),
        ("            self._known.clear()\n            self._new_work.set()\n            if",
         "            self._new_work.set()\n            if", "a second page gets nothing"),
        ("                self.set_trait(name, value)", "                pass",
         "a late move clears the sentence about an upload"),
        ("contextlib.suppress(ValueError)", "contextlib.suppress(TypeError)",
         "an upload is lost for a face that is gone"),
        ('if (told or before) and self.problem in ("", before):', "if told or before:",
         "what fails ahead replaces what was told"),
        ("time.monotonic() - Panel._touched) < PAUSE:", "time.monotonic() - Panel._touched) < 0:",
         "preparation gets in the user's way"),
        ("if len(self._known) > KEPT:", "if False:", "a browser that runs out of memory"),
        ("options[(start + i) % len(options)]", "options[i]", "a page of other people"),
        ('.replace("<", "\\\\u003c")', "", "a text ends the script"),
        ("title=html.escape(self.title)", "title=self.title", "a title ends itself"),
        ("[i / (count - 1) for i in range(count)]", "[i / count for i in range(count)]",
         "full strength is out of reach"),
        ("first = identity - identity % 100", "first = identity", "another hundred people"),
    ),
    *room(
        "widgets/explorer",
        ("share = change[inside].sum() / change.sum()", "share = inside.mean()",
         "the share of the area"),
        ("self.faces[face - 1]", "self.faces[-face]", "faces counted from the right"),
        ("if number > count:", "if number > count + 1:", "a face that is not there"),
        ("for cache in (self._input, self._output):", "for cache in (self._output,):",
         "the photograph before is shown"),
    ),
    *room(
        "widgets/comparer",
        ("1 - error[0] / error[1]", "1 - error[1] / error[0]", "the share turned upside down"),
        ("best = max(removed", "best = min(removed", "the worst is called the best"),
        ("sum(value > 0 for", "sum(value >= 0 for", "doing nothing comes nearer"),
    ),
    *room(
        "widgets/muscles",
        ("Image.fromarray(~changed)", "Image.fromarray(changed)", "black and white swapped"),
        ("MOST = 1.5 ", "MOST = 1.0 ", "sliders that end too early"),
        ("{strengths[side] for side in strengths if", "{strengths[unit] for side in strengths if",
         "one side speaks for both"),
    ),
    *room(
        "widgets/inspector",
        ("channels, spatial = maps[number - 1]", "channels, spatial = maps[-number]",
         "blocks counted from the end"),
        ('if proposal["value"] > count:', "if False:", "a block that is not there"),
    ),
    *room(
        "widgets/pictures",
        ("np.clip([change, -change], 0, 1)", "np.clip([-change, change], 0, 1)",
         "brighter is blue"),
        ("low, high = weights.min(), weights.max()", "low, high = 0, weights.max()",
         "the lowest place is not dark"),
        ("1 - value * (height - 2)", "1 - (1 - value) * (height - 2)", "bars upside down"),
    ),
    *room(
        "widgets/training",
        ("rows.tail(max(1, len(rows) // 50)).mean()", "rows.mean()", "means of the whole run"),
        ("(self.run.step - before) / (self.run.config.steps - before)",
         "self.run.step / self.run.config.steps", "the warm-up does not count"),
        ("(config.steps - self.run.step) * pace", "config.steps * pace", "the time is never over"),
        ('["input", *(name', '["edit", *(name', "the input is called an edit"),
    ),
    *room(
        "data_prep/splits",
        ('"test" if record.subject in', '"train" if record.subject in', "no person is held out"),
        ("rank(seed, person)", "rank(0, person)", "the seed is ignored"),
        ('            name += f"#{record.row}"', "            pass",
         "all rows of a table in one split"),
        ("< self.share * 2**64", "< self.share * 2**63", "half the share is held out"),
        ("if record.split is not None:", "if False:", "the data set's own split is ignored"),
    ),
    *room(
        "data_prep/duplicates",
        ("near = different <= threshold", "near = different < threshold", "one bit stricter"),
        ("[: keep - len(kept)]", "[:keep]", "more pairs than asked for"),
        ("kept.append((i + row, j + column,", "kept.append((i + row, column,",
         "pairs with another picture"),
        ("hit |= near.any(axis=0)", "hit = near.any(axis=0)", "only the last chunk counts"),
    ),
    *room(
        "data_prep/prepare",
        ("not LAYOUTS[layout].crops if align is None", "True if align is None",
         "crops are cropped again"),
        ("if not 16 <= size <= 1024:", "if not 0 < size <= 1024:", "crops of a few pixels"),
        ('check_same(dest, report["options"], options)', "pass",
         "other options than asked for pass"),
        ("if dest.is_relative_to(source):", "if False:", "results among the sources"),
        ("enumerate(records, done)", "enumerate(records)", "names given twice after a stop"),
    ),
    *room(
        "data_prep/picture",
        ("    check_inside(record.path, job.source)\n", "", "files from anywhere on the disk"),
        ("getextrema()) == 0:", "getextrema()) < 0:", "black pictures are used"),
        ("return faces[0] if faces else labelled", "return labelled",
         "a box instead of the face in it"),
        ("bool(transform.scale > 1)", "bool(transform.scale < 1)", "enlarged and shrunk swapped"),
        ("if min(width, height) < 16:", "if max(width, height) < 16:", "a picture of one column"),
        ("GREY = 2 ", "GREY = 20 ", "pale colours are grey"),
        ("contains(labelled.box, face.centre)]", "True]", "the largest face instead of the meant"),
        ("fingerprint(_labelled(photo, record))", "fingerprint(photo)",
         "faces of one photograph count as copies"),
    ),
    *room(
        "data_prep/records",
        ('"val": "test"', '"val": "train"', "validation is trained on"),
        ("elif self.intensity is not None and not 0 <= self.intensity <= 1:", "elif False:",
         "intensities of 7"),
        ("intensity = i / last if last else 1.0", "intensity = (i + 1) / (last + 1)",
         "no frame is neutral"),
        ("int(numbers[-1])", "int(numbers[0])", "frames in the order of their names"),
        ("points[36:42].mean(0), points[42:48].mean(0)",
         "points[42:48].mean(0), points[36:42].mean(0)", "left and right eye swapped"),
        ("points[30], points[48], points[54]", "points[31], points[49], points[55]",
         "points counted from 1"),
        ("sides[0] + sides[2], sides[1] + sides[3]", "sides[2], sides[3]",
         "a size passes for a corner"),
        ("key=lambda stem: (len(stem), stem)", "key=lambda stem: stem", "10 before 9"),
        ("if not _inside(source, path):", "if False:", "annotations from anywhere on the disk"),
        ('return not name.startswith(".")', "return True", "what systems hide is read"),
        ("if set(names).isdisjoint(columns):", "if True:", "the header is a picture"),
    ),
    *room(
        "data_prep/layouts",
        ('2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"',
         '2: "disgust", 3: "fear", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"',
         "RAF-DB's fear is disgust"),
        ('4: "sadness", 5: "surprise", 6: "neutral"', '4: "surprise", 5: "sadness", 6: "neutral"',
         "FER2013's sadness is surprise"),
        ('"publictest": "test"', '"publictest": "train"', "FER2013's test is trained on"),
        ('"1": "test", "2": "test"}', '"1": "train", "2": "test"}',
         "CelebA's validation is trained on"),
        ("paths[: len(paths) // 2 + 1]", "paths[: len(paths) // 2]", "MUG without its height"),
        ("most / sum(votes.values())", "most / 10", "votes that were not given count"),
        ("smiling = -9 ", "smiling = -10 ", "another attribute than smiling"),
        ('"low": 1 / 3, "medium": 2 / 3', '"low": 2 / 3, "medium": 1 / 3', "levels swapped"),
        ('{"HC": 0.5, "HO": 1.0}', '{"HC": 1.0, "HO": 0.5}', "open and closed mouths swapped"),
        ('(("train_set", "train"), ("val_set", "test"))',
         '(("train_set", "train"), ("val_set", "train"))', "AffectNet's test is trained on"),
        ('"1": "happiness", "-1": "neutral"', '"1": "neutral", "-1": "happiness"',
         "a smile is neutral"),
        ('(*sorted(points[:2]), points[2], *sorted(points[3:]))', "points",
         "eyes from right to left"),
    ),
    *room(
        "data_prep/report",
        ('self.people["train"] & self.people["test"]', 'self.people["train"] | self.people["test"]',
         "everybody is in both splits"),
        ('expression != "neutral" and entry["intensity"]', 'entry["intensity"]',
         "neutral counts as a known intensity"),
        ('NEAR["photographs" if options["align"] else "crops"]', 'NEAR["photographs"]',
         "other people's crops are copies"),
    ),
]  # fmt: skip


def tracked():
    """Paths that git tracks, relative to the root."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    run.check_returncode()
    return [name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy_to(folder):
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())


def plant(mutant, folder):
    """Write the fault into the copy.

    Raises
    ------
    ValueError
        If the old text does not occur exactly once, or the new one is no Python.
    """
    path = folder / mutant.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.old!r} occurs {text.count(mutant.old)} times in {path.name}, not once; "
            f"bring tests/mutants.py up to date."
        )
    planted = text.replace(mutant.old, mutant.new)
    compile(planted, str(path), "exec")
    path.write_text(planted, encoding="utf-8")


class FirstFailure:
    """A pytest plugin that remembers the first test that failed."""

    name = "no test started"

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.name = report.nodeid.split("::", 1)[1]


def work(name, folder, pipe):
    """In a process of its own: run a room's tests in the copy, send how that ended."""
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.path.insert(0, folder)  # before this repository, which pip installed for editing
    failure, output = FirstFailure(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
        files = [f"tests/test_{room}.py" for room in (name, *MORE_TESTS.get(name, ()))]
        status = pytest.main([*options, *files], plugins=[failure])
    for package in {"mmagan_lite", "data_prep"} & sys.modules.keys():
        (place,) = sys.modules[package].__path__
        if not Path(place).samefile(Path(folder) / package):
            status, failure.name = -1, f"the tests imported {place}, not the copy"
    pipe.send((int(status), failure.name))


def run_tests(name, folder):
    """How pytest ended for a room's tests in the copy (0: all passed), and what failed first."""
    receiver, sender = PROCESS.Pipe(duplex=False)
    process = PROCESS.Process(target=work, args=(name, folder, sender))
    process.start()
    sender.close()
    try:
        ended = receiver.recv() if receiver.poll(PATIENCE) else (1, f"no end after {PATIENCE} s")
    except EOFError:
        ended = -1, "the process died"
    process.join(10)
    process.kill()
    process.join()
    return ended


# PyTorch is imported once, each run is forked from that; the package comes from its copy.
PROCESS = multiprocessing.get_context("forkserver")
PROCESS.set_forkserver_preload(["torch", "torchvision", "pytest", "numpy", "PIL", "tqdm.auto"])
STEADY = {
    "OMP_NUM_THREADS": "1",
    # A stale .pyc could hide a fault that leaves the file's size and second alone.
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # importing them takes longer than the tests
}


def judge(mutant):
    """Plant one fault in a copy of its own and run its room's tests."""
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        plant(mutant, Path(folder))
        status, detail = run_tests(mutant.room, folder)
    word = {0: "SURVIVED", 1: "killed"}.get(status, "BROKEN")
    return Verdict(mutant, word, detail if status else "all tests passed")


def check_unharmed(name):
    """Raise RuntimeError if a room's tests fail without any fault."""
    with tempfile.TemporaryDirectory() as folder:
        copy_to(Path(folder))
        status, detail = run_tests(name, folder)
    if status:
        raise RuntimeError(f"The tests of {name} do not pass without any fault: {detail}")


def main(arguments=None, mutants=MUTANTS):
    rooms = list(dict.fromkeys(mutant.room for mutant in mutants))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("room", nargs="*", help=f"{', '.join(rooms)}; default: all")
    chosen = parser.parse_args(arguments).room or rooms
    if unknown := set(chosen) - set(rooms):
        parser.error(f"no mutants for {', '.join(sorted(unknown))}; choose from {', '.join(rooms)}")
    os.environ |= STEADY
    started = time.monotonic()
    words = {name: Counter() for name in chosen}
    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(check_unharmed, chosen))
        for mutant, word, detail in pool.map(judge, [m for m in mutants if m.room in chosen]):
            words[mutant.room][word] += 1
            print(f"{word:8}  {mutant.room:13}  {mutant.breaks}  [{detail}]", flush=True)
    print()
    for name, counts in words.items():
        rest = "".join(f", {n} {word}" for word, n in counts.items() if word != "killed")
        print(f"{name:13}  {counts['killed']} killed{rest}")
    total = sum(words.values(), Counter())
    print(f"{total['killed']} of {total.total()} killed in {time.monotonic() - started:.0f} s")
    return int(total["killed"] < total.total())


if __name__ == "__main__":
    sys.exit(main())
