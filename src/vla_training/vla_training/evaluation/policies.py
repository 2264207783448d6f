"""Who acts in an evaluation: a checkpoint, the scripted expert, or a constant.

Called by `episode` once a tick. Deliberately knows no time: the episode decides what a policy gets
to see and when.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract, load_contract
from vla_core.execution.continuation import Prefix
from vla_core.model_input import ModelInput
from vla_inference.engine.jpeg import decode_jpeg
from vla_policy import manifest
from vla_policy.checkpoint import load_expert, load_vlm, read_manifest
from vla_policy.checkpoint_format import NORMALIZATION
from vla_policy.errors import CheckpointError
from vla_policy.expert.expert import ActionExpert
from vla_policy.normalization import load_normalization
from vla_sim.scripted import ScriptedExpert
from vla_sim.scripted_values import Goal, Sight

Array = NDArray[np.float64]


class Policy(Protocol):
    """`see` gives features of a picture set, `act` a chunk; `reset` begins an episode."""

    contract: Contract
    checkpoint_hash: str
    needs_pictures: bool
    passes: int  # whose features `act` is given

    def reset(self, seed: int) -> None:
        """Forget the episode before."""
        ...

    def see(self, jpegs: dict[str, bytes], task: str) -> NDArray[np.float16]:
        """Features (T, D) of one JPEG a view: one pass."""
        ...

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int,
        prefix: Prefix | None = None,
    ) -> Array:  # fmt: skip
        """Return a chunk (8, 6).

        `sight`: the truth, for the scripted expert only. `prefix`: what of the last chunk is to
        be continued (real-time chunking), for checkpoints only.
        """
        ...


class CheckpointPolicy:
    """A trained policy, as the two model nodes run it."""

    needs_pictures = True

    def __init__(self, folder: Path) -> None:
        """CheckpointError where the checkpoint cannot be loaded."""
        info = read_manifest(folder)
        self.contract, self.checkpoint_hash = info.contract, info.checkpoint_hash
        self._encoder, self._expert = load_vlm(folder), load_expert(folder)
        self.passes = self._expert.config.passes

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
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int,
        prefix: Prefix | None = None,
    ) -> Array:  # fmt: skip
        """See `Policy`."""
        if prefix is None:
            return self._expert.act(tokens, inputs, seed)
        return self._expert.act(tokens, inputs, seed, prefix.delta, prefix.committed_steps)


class _Blind:
    """A policy that looks at no picture."""

    needs_pictures = False
    passes = 1

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
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int,
        prefix: Prefix | None = None,
    ) -> Array:  # fmt: skip
        """See `Policy`."""
        return self._expert.plan(sight, Goal.INSERT).delta


class ConstantPolicy(_Blind):
    """The same chunk (8, 6) at every tick: the mean action of the demonstrations, or none."""

    def __init__(self, contract_path: Path, chunk: Array) -> None:
        super().__init__(contract_path)
        self._chunk = np.asarray(chunk, np.float64)

    def act(
        self, tokens: NDArray[np.float16], inputs: ModelInput, sight: Sight, seed: int,
        prefix: Prefix | None = None,
    ) -> Array:  # fmt: skip
        """See `Policy`."""
        return self._chunk


def mean_action(folder: Path, steps: int) -> Array:
    """Return the mean action (steps, 6) of the demonstrations a checkpoint was trained on.

    CheckpointError when its normalisation is damaged or does not tell it.
    """
    info = read_manifest(folder)
    manifest.check_files(folder, info.files, (NORMALIZATION,))
    widths = ActionExpert.statistics_widths(info.policy.expert)
    action = load_normalization(folder / NORMALIZATION, widths)['action']
    if action.method != 'mean_std':
        problem = 'its actions are not normalised by their mean'
        raise CheckpointError(folder, problem, 'use one made by vla train')
    return np.tile(action.first, (steps, 1))
