"""The training loop: seeded, resumable, evaluated on held-out text with the numbers that the shipped model will use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tritloom.host.errors import UsageError
from tritloom.host.train.checkpoint import Checkpoint, RunKey, checkpoint_path
from tritloom.host.train.data import CharText, sample_batch
from tritloom.host.train.export import export_model, zero_share
from tritloom.host.train.presets import Preset
from tritloom.host.train.qat import BitLinear, BitNet
from tritloom.host.train.result import CurvePoint, Progress, TrainResult

__all__ = ["Run", "held_out_loss", "learning_rate", "run_training"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def learning_rate(preset: Preset, step: int, steps: int) -> float:
    """The rate of step number `step` (from 0): linear rise over the warm-up, then a cosine down to ``final_share`` of the peak."""
    # A run shorter than the preset's own keeps the warm-up's part of it, else it would end before its peak.
    warmup = min(preset.warmup, max(1, steps // 10))
    if step < warmup:
        return preset.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return preset.learning_rate * (preset.final_share + (1.0 - preset.final_share) * 0.5 * (1.0 + math.cos(math.pi * done)))


def held_out_loss(model: BitNet, ids: Tensor, window: int, batch: int = 8) -> tuple[float, int]:
    """Mean negative log likelihood of a text, in float32 with exact integer sums.

    The text is cut into windows of `window` characters that do not overlap; in each, every character predicts the next one, so
    that all characters but the first are predicted once, with 1 to `window` characters of context.

    Parameters
    ----------
    model : BitNet
        The model.
    ids : Tensor
        int64 ``(T,)``, T at least 2.
    window : int
        Characters, at most the model's context.
    batch : int
        Windows at a time.

    Returns
    -------
    loss : float
        Nats a character.
    count : int
        Characters predicted, T - 1.
    """
    inputs, targets = ids[:-1], ids[1:]
    whole = len(inputs) - len(inputs) % window
    x, y = (t[:whole].view(-1, window) for t in (inputs, targets))
    chunks = [(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
    if whole < len(inputs):
        chunks.append((inputs[None, whole:], targets[None, whole:]))
    total = 0.0
    with torch.no_grad():
        for x, y in chunks:
            total += F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum").item()
    return total / len(inputs), len(inputs)


class Run:
    """One training run: the model, its optimiser and its random numbers at some step.

    Parameters
    ----------
    preset : Preset
        The recipe.
    text : CharText
        What to train on.
    steps, seed : int
        Steps in all, and where randomness comes from.
    """

    def __init__(self, preset: Preset, text: CharText, *, steps: int, seed: int) -> None:
        self.preset, self.text, self.steps = preset, text, steps
        self.key = RunKey(preset=preset.name, steps=steps, seed=seed, text_sha256=text.sha256)
        self.generator = torch.Generator().manual_seed(seed)
        config = preset.config(len(text.chars))
        self.model = BitNet(config, weight_std=preset.weight_std, embedding_std=preset.embedding_std, generator=self.generator)
        matrices = [module.weight for module in self.model.modules() if isinstance(module, BitLinear)]
        others = [p for p in self.model.parameters() if not any(p is matrix for matrix in matrices)]
        # The first group is the one that decays: `step_once` sets it by position.
        self.optimizer = torch.optim.AdamW([{"params": matrices}, {"params": others}], betas=preset.betas, weight_decay=0.0, fused=True)
        self.step = 0
        self.curve: list[CurvePoint] = []
        self.loss_sum = 0.0
        self.seconds = 0.0

    def step_once(self) -> tuple[float, float]:
        """Take one step; give its loss and its learning rate."""
        preset = self.preset
        phase = preset.phase_at(self.step, self.steps)
        rate = learning_rate(preset, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        decays = self.step < preset.weight_decay_share * self.steps
        self.optimizer.param_groups[0]["weight_decay"] = preset.weight_decay if decays else 0.0
        x, y = sample_batch(self.text.train, phase.batch, phase.block, self.generator)
        loss = F.cross_entropy(self.model(x, _DTYPES[preset.precision]).flatten(0, 1), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), preset.clip)
        self.optimizer.step()
        self.step += 1
        self.loss_sum += loss.item()
        return loss.item(), rate

    def evaluate(self) -> CurvePoint:
        """Measure the held-out text in windows of the model's context, and add a point to the curve."""
        since = self.curve[-1].step if self.curve else 0
        held_out, _ = held_out_loss(self.model, self.text.held_out, self.preset.max_position_embeddings)
        point = CurvePoint(self.step, self.loss_sum / max(1, self.step - since), held_out)
        self.curve.append(point)
        self.loss_sum = 0.0
        return point

    def checkpoint(self) -> Checkpoint:
        """The state after the last step."""
        return Checkpoint(
            key=self.key,
            step=self.step,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            generator=self.generator.get_state(),
            curve=[(point.step, point.train_loss, point.held_out_loss) for point in self.curve],
            loss_sum=self.loss_sum,
            seconds=self.seconds,
        )

    def restore(self, state: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.generator.set_state(state.generator)
        self.step = state.step
        self.curve = [CurvePoint(*point) for point in state.curve]
        self.loss_sum, self.seconds = state.loss_sum, state.seconds

    def facts(self) -> dict[str, Any]:
        """What the model file says about how it was made: JSON values; no times, so that the same run gives the same bytes."""
        last = self.curve[-1]
        return {
            "preset": self.preset.name,
            "steps": self.steps,
            "seed": self.key.seed,
            "text_sha256": self.text.sha256,
            "text_chars": self.text.length,
            "train_chars": len(self.text.train),
            "held_out_chars": len(self.text.held_out),
            "window": self.preset.max_position_embeddings,
            "train_loss": last.train_loss,
            "held_out_loss": last.held_out_loss,
            "zero_share": zero_share(self.model),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }


def run_training(
    text: Path,
    preset: Preset,
    out: Path,
    *,
    steps: int | None,
    seed: int | None,
    resume: Path | None,
    threads: int,
    progress: Callable[[Progress], None] | None,
) -> TrainResult:
    """Train and export; see `tritloom.host.train.train`, which this is the body of."""
    steps = preset.steps if steps is None else steps
    if steps < 1:
        raise UsageError(f"`steps` must be 1 or more, not {steps}")
    if threads < 1:
        raise UsageError(f"`threads` must be 1 or more, not {threads}")
    if not out.parent.is_dir():
        raise UsageError(f"the folder {str(out.parent)!r} of the model file does not exist; create it or give another --out")
    torch.set_num_threads(threads)
    chars = CharText.read(text, held_out=preset.held_out, block=max(phase.block for phase in preset.phases))
    run = Run(preset, chars, steps=steps, seed=preset.seed if seed is None else seed)
    path = checkpoint_path(out)
    if resume is not None:
        state = Checkpoint.load(resume)
        state.check(run.key, resume)
        run.restore(state)
    elif path.exists():
        old = Checkpoint.load(path)
        if old.step < old.key.steps or old.key.preset != preset.name:
            raise UsageError(
                f"{str(path)!r} holds a run of preset {old.key.preset!r} at step {old.step} of {old.key.steps}; "
                f"go on with --resume, give another --out, or delete it"
            )
    began = time.monotonic() - run.seconds
    while run.step < steps:
        loss, rate = run.step_once()
        if run.step % preset.evaluate_every == 0 or run.step == steps:
            run.evaluate()
        run.seconds = time.monotonic() - began
        if run.step % preset.save_every == 0 or run.step == steps:
            run.checkpoint().save(path)
        if progress is not None:
            progress(Progress(run.step, steps, loss, run.curve[-1].held_out_loss if run.curve else None, rate))
    export_model(run.model, out, chars=chars.chars, training=run.facts())
    last = run.curve[-1]
    return TrainResult(
        out=out,
        checkpoint=path,
        preset=preset.name,
        steps=steps,
        seed=run.key.seed,
        train_loss=last.train_loss,
        held_out_loss=last.held_out_loss,
        held_out_chars=len(chars.held_out) - 1,
        curve=tuple(run.curve),
        seconds=run.seconds,
    )
