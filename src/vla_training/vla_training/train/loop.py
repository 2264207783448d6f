"""The training loop: steps of several batches, validation, checkpoints, state to resume from.

Called by `pipeline` with everything made. Each process of a distributed run has one; the first
one writes. Deliberately knows neither files of episodes nor backbones.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

from accelerate import Accelerator
import numpy as np
import torch

from vla_core.errors import VlaError
from vla_training.train.average import Average
from vla_training.train.config import TrainConfig
from vla_training.train.feed import Feed
from vla_training.train.interrupt import Interrupt
from vla_training.train.log import Meter, RunLog
from vla_training.train.model import parameter_groups, PolicyModel, trained
from vla_training.train.sampling import noise_seed, SampleOrder, seed_dropout
from vla_training.train.schedule import learning_rate
from vla_training.train.seam import TrainingBatch, TrainingData
from vla_training.train.sharing import gathered, own_part, share_out
from vla_training.train.state import Progress, RunState
from vla_training.train.validation import Score, Validation

Report = Callable[[str], None]
Save = Callable[[str], None]  # writes a checkpoint of that name, the average being in the model


@dataclass(frozen=True)
class Run:
    """What a loop works on. `identity`: what must be the same for a run to be resumed."""

    config: TrainConfig
    model: PolicyModel
    data: TrainingData
    weights: np.ndarray  # (N,) probability of each sample
    validation: Validation | None
    state: RunState
    identity: dict[str, Any]
    save: Save
    make_log: Callable[[int], RunLog]
    report: Report


class Trainer:
    """Trains a run's model in place. One thread, and one more that makes batches."""

    def __init__(self, run: Run, accelerator: Accelerator) -> None:
        """VlaError where the batches of a step cannot be dealt out to the processes."""
        self._run, self._config, self._accelerator = run, run.config, accelerator
        world = accelerator.num_processes
        if run.config.accumulation % world:
            raise VlaError(
                f'accumulation {run.config.accumulation} must be a multiple of the {world} '
                'processes, which share the batches of a step'
            )
        self._parts = range(accelerator.process_index, run.config.accumulation, world)
        self._sharing = share_out(run.model, run.config.distributed, accelerator)
        self._weights = [weight for _, weight in trained(run.model)]
        self._optimizer = torch.optim.AdamW(
            parameter_groups(run.model, run.config.optimizer),
            betas=(0.9, run.config.optimizer.beta2),
        )
        self.average = Average(run.model, run.config.averaging)
        self.progress = Progress()
        self._saved: int | None = None

    def resume(self) -> None:
        """Go on where the run was left. VlaError where that cannot be."""
        self.progress = self._run.state.load(
            self._run.model, self.average, self._optimizer, self._run.identity
        )
        self._saved = self.progress.step

    def train(self) -> bool:
        """Train to the end, or until asked to stop: then False. The state is saved either way."""
        log = self._run.make_log(self.progress.step) if self._first else None
        meter = Meter()
        self._run.model.train()
        order = SampleOrder(self._run.weights, self._config.seed)
        with Interrupt() as interrupt:
            feed = Feed(
                self._run.data, order, self._config, self._parts, self.progress.step
            )  # fmt: skip
            with feed:
                while self.progress.step < self._config.steps:
                    meter.add(*self._step(feed))
                    self._after_step(log, meter)
                    if self._any(interrupt.asked):
                        break
        finished = self.progress.step >= self._config.steps
        self._end(log, finished)
        return finished

    @property
    def _first(self) -> bool:
        return self._accelerator.is_main_process

    def _step(self, feed: Feed) -> tuple[float, float]:
        """Learn from one global batch; return its loss and the length of the gradient."""
        step, total = self.progress.step, torch.zeros((), device=self._accelerator.device)
        for part in self._parts:
            batch = feed.next(step, part).to(self._accelerator.device)
            seed_dropout(self._config.seed, step, part)
            with self._sharing.gathering(part == self._parts[-1]):
                total += self._backward(batch, step, part)
        loss = float(self._accelerator.reduce(total, 'sum'))
        norm = torch.nn.utils.clip_grad_norm_(self._weights, self._config.optimizer.clip)
        length = float(gathered(norm))
        if not math.isfinite(loss):
            raise self._run_away('the loss is not a finite number')
        if not math.isfinite(length):
            raise self._run_away('the gradient is not finite')
        for group in self._optimizer.param_groups:
            group['lr'] = learning_rate(
                group['peak'], step, self._config.steps, self._config.optimizer
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.average.update(step)
        self.progress = Progress(step + 1, self.progress.best)
        return loss, length

    def _backward(self, batch: TrainingBatch, step: int, part: int) -> torch.Tensor:
        losses = self._sharing.losses(batch, noise_seed(self._config.seed, step, part))
        seen = batch.inputs.window_mask.any(1)
        losses = losses * torch.where(seen, self._config.data.sensor_weight, 1.0)
        loss = losses.sum() / self._config.samples_a_step
        # Gradients of several processes are averaged, not summed up.
        self._accelerator.backward(loss * self._accelerator.num_processes)
        return loss.detach()

    def _after_step(self, log: RunLog | None, meter: Meter) -> None:
        step, config = self.progress.step, self._config
        last = step == config.steps
        if log is not None and (step % config.log_every == 0 or last):
            self._log(log, meter)
        if self._run.validation is not None and (step % config.validate_every == 0 or last):
            self._validate(log)
        if step % config.save_every == 0 and not last:
            self._save()

    def _log(self, log: RunLog, meter: Meter) -> None:
        numbers = meter.take(self._config.samples_a_step)
        numbers['lr'] = self._optimizer.param_groups[0]['lr']
        log.write(self.progress.step, 'train', numbers)
        self._run.report(
            f'step {self.progress.step}/{self._config.steps}: loss {numbers["loss"]:.4f}, '
            f'{numbers["samples_s"]:.1f} samples/s'
        )

    def _validate(self, log: RunLog | None) -> None:
        """Score the averaged weights in the first process; the others help or wait."""
        validation, score = self._run.validation, None
        if validation is None:
            return
        with self.average.applied():
            if log is not None or self._sharing.together:
                with self._sharing.settled():
                    score = validation.score(self._run.model, self._accelerator.autocast)
            self._check_score(score)
            better = log is not None and score is not None and self._note(log, score)
            if self._any(better):
                self._write('best')
        self._accelerator.wait_for_everyone()

    def _check_score(self, score: Score | None) -> None:
        """Raise VlaError, in all processes, where a number of it is not finite."""
        if not self._any(score is not None and not score.is_finite):
            return
        self._check_weights()
        raise VlaError(
            f'step {self.progress.step}: the validation loss is not a finite number, though all '
            'weights are: look for such a number in the episodes that validate (`best` stays as '
            'it was)'
        )

    def _note(self, log: RunLog, score: Score) -> bool:
        """Log and tell a score; whether it is the best so far."""
        log.write(self.progress.step, 'validation', score.to_dict())
        self._run.report(f'step {self.progress.step}: {score}')
        if self.progress.best is not None and score.loss >= self.progress.best:
            return False
        self.progress = Progress(self.progress.step, score.loss)
        return True

    def _write(self, name: str) -> None:
        with self._sharing.whole():
            if self._first:
                self._run.save(name)

    def _save(self) -> None:
        self._check_weights()
        if self._saved != self.progress.step:
            self._run.state.save(
                self.progress, self._run.model, self.average, self._optimizer,
                self._run.identity, write=self._first,
            )  # fmt: skip
        self._saved = self.progress.step
        self._accelerator.wait_for_everyone()

    def _check_weights(self) -> None:
        """Raise VlaError, in all processes, where a weight is not finite: none such is saved."""
        weights = (*self._weights, *self.average.values.values())
        if self._any(not all(bool(own_part(weight).isfinite().all()) for weight in weights)):
            raise self._run_away('the weights are not finite')

    def _run_away(self, what: str) -> VlaError:
        """Say that numbers are not finite, and which state is from before that."""
        state = self._run.state.newest
        before = '' if state is None else f' ({state} is from before)'
        return VlaError(
            f'step {self.progress.step}: {what} any more; train anew with a smaller '
            f'optimizer.learning_rate, or look for such numbers in the data{before}'
        )

    def _end(self, log: RunLog | None, finished: bool) -> None:
        self._save()
        with self.average.applied():
            self._write('last')
            if finished and self._run.validation is None:
                self._write('best')
        if log is not None:
            log.close()
        self._accelerator.wait_for_everyone()

    def _any(self, asked: bool) -> bool:
        """Whether any process was asked to stop: all must agree on the step."""
        if self._accelerator.num_processes == 1:
            return asked
        flag = torch.tensor(float(asked), device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, 'sum') > 0)
