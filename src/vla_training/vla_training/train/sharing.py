"""How the processes of a run hold its weights: a copy in each (DDP), or a part in each (FSDP).

Used by the loop, to which both look alike, and by the state, which knows whole weights only. With
parts a layer's weights come together while it is computed. Deliberately knows no optimiser.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from accelerate import Accelerator
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import distribute_tensor, DTensor

from vla_core.errors import VlaError
from vla_training.train.model import PolicyModel
from vla_training.train.seam import TrainingBatch


class Sharing(Protocol):
    """What the loop asks of either."""

    together: bool  # all processes must ask the model for anything at the same time

    def losses(self, batch: TrainingBatch, seed: int) -> torch.Tensor:
        """Loss (B,) of each sample."""

    def gathering(self, last: bool) -> AbstractContextManager[Any]:
        """Compute gradients; they are averaged over the processes with the `last` batch only."""

    def settled(self) -> AbstractContextManager[Any]:
        """Ask the model other than for `losses`; afterwards its weights may be changed."""

    def whole(self) -> AbstractContextManager[Any]:
        """Have plain whole weights in the first process's model, to write them."""


def share_out(model: PolicyModel, kind: str, accelerator: Accelerator) -> Sharing:
    """Put a model on the devices of the processes, by `kind`: ddp or fsdp."""
    if kind == 'ddp':
        return Copies(model, accelerator)
    if accelerator.num_processes == 1:
        raise VlaError(
            'distributed fsdp shares the weights out among processes, and there is one: start '
            'several (--processes N, torchrun), or leave it at ddp'
        )
    return Parts(model, accelerator)


class Copies:
    """A copy in each process."""

    together = False

    def __init__(self, model: PolicyModel, accelerator: Accelerator) -> None:
        self._accelerator, self._wrapped = accelerator, accelerator.prepare_model(model)

    def losses(self, batch: TrainingBatch, seed: int) -> torch.Tensor:
        """See Sharing."""
        return self._wrapped(batch, seed)

    def gathering(self, last: bool) -> AbstractContextManager[Any]:
        """See Sharing."""
        return nullcontext() if last else self._accelerator.no_sync(self._wrapped)

    def settled(self) -> AbstractContextManager[Any]:
        """See Sharing."""
        return nullcontext()

    def whole(self) -> AbstractContextManager[Any]:
        """See Sharing."""
        return nullcontext()


class Parts:
    """A part in each process: of what learns, and of the encoder's layers that do not.

    Other weights that do not learn (vision tower, embedding) are whole in each.
    """

    together = True

    def __init__(self, model: PolicyModel, accelerator: Accelerator) -> None:
        self._accelerator, self._model = accelerator, model.to(accelerator.device)
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        layers = list(getattr(model.encoder, 'layers', ()))
        shared = {weight for layer in layers for weight in layer.parameters()}
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        whole = {weight for weight in model.parameters() if not weight.requires_grad} - shared
        fully_shard(model, mesh=mesh, ignored_params=whole)
        register_fsdp_forward_method(model, 'examine')

    def losses(self, batch: TrainingBatch, seed: int) -> torch.Tensor:
        """See Sharing."""
        with self._accelerator.autocast():
            return self._model(batch, seed).float()

    @contextmanager
    def gathering(self, last: bool) -> Iterator[None]:
        """See Sharing."""
        model: Any = self._model
        model.set_requires_gradient_sync(last)
        yield

    @contextmanager
    def settled(self) -> Iterator[None]:
        """See Sharing."""
        model: Any = self._model
        try:
            yield
        finally:
            model.reshard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """See Sharing. They are put together on the CPU, one after another."""
        parts: list[tuple[nn.Module, str, nn.Parameter]] = []
        for module in self._model.modules():
            for name, weight in list(module._parameters.items()):
                if not isinstance(weight, DTensor):
                    continue
                value = gathered(weight.detach()).cpu()
                if self._accelerator.is_main_process:
                    parts.append((module, name, weight))
                    module._parameters[name] = nn.Parameter(value, weight.requires_grad)
        try:
            yield
        finally:
            for module, name, weight in parts:
                module._parameters[name] = weight


def gathered(value: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor; where processes hold parts each of them must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def own_part(value: torch.Tensor) -> torch.Tensor:
    """Return what of a tensor this process holds; nobody else need ask."""
    return value.to_local() if isinstance(value, DTensor) else value


def held_as(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return whole `value` as this process holds `weight`: on its device, as its part."""
    value = value.to(weight.device)
    if isinstance(weight, DTensor):
        return distribute_tensor(value, weight.device_mesh, weight.placements)
    return value
