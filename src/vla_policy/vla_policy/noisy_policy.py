"""A noisy policy whose distribution of chunks is known exactly: a smooth Gaussian process.

Used by `vla bench splice` and the tests of chunk policies. Every chunk is a fresh draw, so
neighbouring chunks disagree although each is smooth: what a generative policy does between two
modes, without a network. Its flow is analytic, so what is measured is the executing and the
guidance alone. Deliberately sees no inputs.
"""

from dataclasses import dataclass

import numpy as np
import torch

from vla_policy.expert.flow import Guide, integrate, soft_weights


@dataclass(frozen=True)
class NoisySettings:
    """The process; a step is displacement (m) and rotation vector (rad)."""

    steps: int = 8
    dims: int = 6
    correlation_steps: float = 3.0  # of the squared exponential covariance along the chunk
    advance_m: float = 1e-3  # mean step along x: 10 mm/s at 10 Hz
    spread_m: float = 2e-4  # standard deviation of a step
    spread_rad: float = 2e-3
    flow_steps: int = 5  # Euler steps, as the flow head's


class NoisyPolicy:
    """Chunks x ~ N(mean, K) drawn along the flow from noise z ~ N(0, 1) by straight lines.

    At time t the mixture x_t = (1 - t) z + t x is normal with covariance S = (1 - t)^2 + t^2 K,
    so the velocity E[x - z | x_t] = (t K - (1 - t)) S^-1 x_t in units of the deviation around the
    mean.
    """

    takes_prefix = True

    def __init__(self, settings: NoisySettings | None = None) -> None:
        self.settings = settings = settings or NoisySettings()
        index = torch.arange(settings.steps, dtype=torch.float64)
        apart = (index[:, None] - index) / settings.correlation_steps
        self._covariance = torch.exp(-0.5 * apart.square())
        self._eye = torch.eye(settings.steps, dtype=torch.float64)
        self._scale = torch.tensor([settings.spread_m] * 3 + [settings.spread_rad] * 3).double()
        self._mean = torch.zeros(settings.dims, dtype=torch.float64)
        self._mean[0] = settings.advance_m
        self._maps: dict[float, torch.Tensor] = {}

    def velocity(self, actions: torch.Tensor, time: float) -> torch.Tensor:
        """Velocity (B, H, dims) of the flow at normalised actions and a time in [0, 1)."""
        if time not in self._maps:
            cov, eye, left = self._covariance, self._eye, 1 - time
            mixed = left**2 * eye + time**2 * cov
            self._maps[time] = torch.linalg.solve(mixed, time * cov - left * eye, left=False)
        return torch.einsum('ij,bjd->bid', self._maps[time], actions)

    def chunk(
        self, seed: int, prefix: np.ndarray | None = None, committed_steps: int = 0
    ) -> np.ndarray:
        """Draw a chunk (H, dims) float64, raw; around a prefix (n, dims) where there is one."""
        settings = self.settings
        generator = torch.Generator().manual_seed(seed)
        shape = (1, settings.steps, settings.dims)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        guide = None if prefix is None else self._guide(prefix, committed_steps)
        with torch.no_grad():
            actions = integrate(self.velocity, noise, settings.flow_steps, guide)
        chunk = (actions[0] * self._scale + self._mean).numpy()
        if prefix is not None:
            chunk[:committed_steps] = prefix[:committed_steps]
        return chunk

    def _guide(self, prefix: np.ndarray, committed_steps: int) -> Guide:
        target = torch.zeros(1, self.settings.steps, self.settings.dims, dtype=torch.float64)
        target[0, : len(prefix)] = (torch.from_numpy(prefix) - self._mean) / self._scale
        weights = soft_weights(self.settings.steps, committed_steps, len(prefix))
        return Guide(target, weights.double())
