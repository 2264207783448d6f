"""Who acts in an evaluation: a checkpoint, the scripted expert, or a constant.

Called by `episode` once a tick. Deliberately knows no time: the episode decides what a policy gets
to see and when.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract, load_contract
from vla_core.model_input import ModelInput
from vla_inference.engine.jpeg import decode_jpeg
from vla_policy.checkpoint import load_expert, load_vlm, read_manifest
from vla_sim.scripted import Goal, ScriptedExpert, Sight

Array = NDArray[np.float64]


class Policy(Protocol):
    """`see` gives features of a picture set, `act` a chunk; `reset` begins an episode."""

    contract: Contract
    checkpoint_hash: str
    needs_pictures: bool

    def reset(self, seed: int) -> None:
        """Forget the episode before."""
        ...

    def see(self, jpegs: dict[str, bytes], task: str) -> NDArray[np.float16]:
        """Features (T, D) of one JPEG a view."""
        ...

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int
    ) -> Array:
        """Return a chunk (8, 6). `sight` is the truth, for the scripted expert only."""
        ...


class CheckpointPolicy:
    """A trained policy, as the two model nodes run it."""

    needs_pictures = True

    def __init__(self, folder: Path) -> None:
        """CheckpointError where the checkpoint cannot be loaded."""
        info = read_manifest(folder)
        self.contract, self.checkpoint_hash = info.contract, info.checkpoint_hash
        self._encoder, self._expert = load_vlm(folder), load_expert(folder)

    def reset(self, seed: int) -> None:
        """See `Policy`; a checkpoint remembers nothing."""

    def see(self, jpegs: dict[str, bytes], task: str) -> NDArray[np.float16]:
        """See `Policy`."""
        size = self.contract.images
        images = [
            decode_jpeg(jpegs[view], size.width, size.height) for view in self.contract.view_names
        ]
        return self._encoder.encode(images, task).tokens

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int
    ) -> Array:
        """See `Policy`."""
        return self._expert.act(tokens, inputs, seed)


class _Blind:
    """A policy that looks at no picture."""

    needs_pictures = False

    def __init__(self, contract_path: Path) -> None:
        self.contract = load_contract(contract_path)
        self.checkpoint_hash = type(self).__name__

    def reset(self, seed: int) -> None:
        """See `Policy`."""

    def see(self, jpegs: dict[str, bytes], task: str) -> NDArray[np.float16]:
        """See `Policy`."""
        return np.zeros((1, 1), np.float16)


class ScriptedPolicy(_Blind):
    """The demonstrator with its view of the truth: what is possible at best."""

    def reset(self, seed: int) -> None:
        """See `Policy`."""
        self._expert = ScriptedExpert(seed)

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int
    ) -> Array:
        """See `Policy`."""
        return self._expert.plan(sight, Goal.INSERT).delta


class ConstantPolicy(_Blind):
    """The same chunk (8, 6) at every tick: the mean action of the demonstrations, or none."""

    def __init__(self, contract_path: Path, chunk: Array) -> None:
        super().__init__(contract_path)
        self._chunk = np.asarray(chunk, np.float64)

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int
    ) -> Array:
        """See `Policy`."""
        return self._chunk
