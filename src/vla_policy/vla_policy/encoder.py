"""Images and a task to feature tokens: the slow half of the policy.

Used by the VLM worker, the feature cache and the benchmark. Caches everything that depends on
geometry and task. Deliberately knows no topics, no JPEG and no time stamps.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_policy.backbones.base import Backbone, Plan
from vla_policy.errors import PolicyInputError
from vla_policy.runner import Mode, Runner, StageTimer

KEPT_PLANS = 4  # geometry and task pairs; a task may be changed back and forth while running
FLOAT16_MAX = 65504.0


@dataclass(frozen=True, eq=False)
class EncodedViews:
    """Result of one pass."""

    tokens: np.ndarray  # (T, D) float16: each view's tokens in turn, then the text token
    stages: dict[str, float]  # s: preprocess (copy to the device included), vision, language, pool


class VisionLanguageEncoder:
    """Backbone, pooling and cached plans. One thread calls `encode`; there is no lock."""

    def __init__(self, backbone: Backbone, pooling: nn.Module, *, mode: Mode = 'eager') -> None:
        self.backbone = backbone
        self.pooling = pooling.to(backbone.device).eval().requires_grad_(False)
        self.mode = mode
        self._plans: OrderedDict[tuple, tuple[Plan, Runner]] = OrderedDict()

    @property
    def width(self) -> int:
        """Numbers in a feature token (D)."""
        return self.backbone.width

    @torch.inference_mode()
    def encode(self, images: Sequence[np.ndarray], task: str) -> EncodedViews:
        """Encode one image (H, W, 3) uint8 RGB per view, in model order, with instruction `task`.

        The first call for a geometry or task takes longer. PolicyInputError on images of other
        kinds.
        """
        plan, runner = self._prepared(images, task)
        timer = StageTimer(self.backbone.device)
        with timer.measure('preprocess'):
            batches = [self._upload([images[index] for index in group]) for group in plan.groups]
        features = runner.run(batches, timer)
        with timer.measure('pool'):
            tokens = features.cpu().numpy()
        if not np.isfinite(tokens).all():
            raise PolicyInputError(
                'the features hold numbers that are not finite; is the checkpoint '
                'damaged, or its dtype too small for it?'
            )
        return EncodedViews(tokens, timer.seconds)

    def _prepared(self, images: Sequence[np.ndarray], task: str) -> tuple[Plan, Runner]:
        key = (tuple(_size(image) for image in images), task)
        if key not in self._plans:
            plan = self._make_plan(*key)
            self._plans[key] = plan, Runner(self._stages(plan), self.mode, self.backbone.device)
            while len(self._plans) > KEPT_PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]

    def _make_plan(self, sizes: tuple[tuple[int, int], ...], task: str) -> Plan:
        if not sizes:
            raise PolicyInputError('at least one image is needed')
        try:
            return self.backbone.make_plan(sizes, task)
        except ValueError as error:
            raise PolicyInputError(str(error)) from error

    def _stages(self, plan: Plan) -> dict[str, Any]:
        prepared = self.pooling.prepare(plan.layout, self.backbone.device)

        def pool(hidden: torch.Tensor) -> torch.Tensor:
            return self.pooling(hidden, prepared).clamp(-FLOAT16_MAX, FLOAT16_MAX).half()

        backbone = self.backbone
        return {
            'preprocess': lambda images: backbone.preprocess(images, plan),
            'vision': lambda patches: backbone.vision(patches, plan),
            'language': lambda tokens: backbone.language(tokens, plan),
            'pool': pool,
        }

    def _upload(self, images: list[np.ndarray]) -> torch.Tensor:
        """Stack equal images (V, H, W, 3) on the device, to a GPU through pinned memory."""
        stacked = torch.from_numpy(np.stack(images) if len(images) > 1 else images[0][None])
        if self.backbone.device.type == 'cuda':
            return stacked.pin_memory().to(self.backbone.device, non_blocking=True)
        return stacked


def _size(image: np.ndarray) -> tuple[int, int]:
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
    ):
        what = (
            f'{image.dtype} {image.shape}'
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise PolicyInputError(f'expected images (H, W, 3) uint8 RGB, got {what}')
    return image.shape[0], image.shape[1]
