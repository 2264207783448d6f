"""The plain `transformers` forward with its processor: what fast paths are held against.

Used by the tests and by the benchmark only. Does what a user of `transformers` would write, on the
same weights and the same prompt; deliberately nothing clever.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vla_policy.backbones.qwen2_5_vl import prompt_text


class PlainForward:
    """Processor and model of Qwen2.5-VL; `model` is the base model or the causal one."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._image_processor = image_processor
        self._processor = _whole_processor(tokenizer, image_processor)

    def inputs(self, images: Sequence[np.ndarray], task: str) -> dict[str, torch.Tensor]:
        """Run the processor on images (H, W, 3) uint8; tensors on the CPU."""
        text = prompt_text(task, '<|vision_start|><|image_pad|><|vision_end|>' * len(images))
        if self._processor is not None:
            return dict(self._processor(images=list(images), text=[text], return_tensors='pt'))
        # The processor class wants a video processor, and that wants torchvision: the same steps
        # by hand.
        vision = self._image_processor(images=list(images), return_tensors='pt')
        merge = self._image_processor.merge_size**2
        for grid in vision['image_grid_thw']:
            text = text.replace(
                '<|image_pad|>', '<|placeholder|>' * (int(grid.prod()) // merge), 1
            )
        text = text.replace('<|placeholder|>', '<|image_pad|>')
        tokens = self._tokenizer([text], return_tensors='pt')
        image_id = self._tokenizer.convert_tokens_to_ids('<|image_pad|>')
        return {**tokens, **vision, 'mm_token_type_ids': (tokens['input_ids'] == image_id).int()}

    def to_device(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy the processor's result to the model."""
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    @torch.inference_mode()
    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Run the model as it is: hidden states (T, D), or logits (T, vocabulary) with a head."""
        return self.model(**inputs, use_cache=False)[0][0]

    @torch.inference_mode()
    def hidden_states(self, images: Sequence[np.ndarray], task: str) -> torch.Tensor:
        """Last hidden states (T, D) of the base model."""
        base = getattr(self.model, 'model', self.model)
        return base(**self.to_device(self.inputs(images, task)), use_cache=False)[0][0]


def cosine(a: torch.Tensor | np.ndarray, b: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Cosine (N,) between corresponding rows of two (N, D) arrays, in double precision."""
    left, right = (torch.as_tensor(part).double().cpu() for part in (a, b))
    return torch.nn.functional.cosine_similarity(left, right, dim=-1)


def _whole_processor(tokenizer: Any, image_processor: Any) -> Any | None:
    """Return the model's own processor where there is torchvision, which it needs."""
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        return None
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor.from_dict(image_processor.to_dict()),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
    )
