"""A planted measurement of the noise scale, named on the command line of the trainer."""

from dataclasses import dataclass

from lightning.pytorch import Callback, LightningModule, Trainer


@dataclass(frozen=True)
class Planted:
    """What a source returns."""

    estimate: float
    valid: bool


class PlantNoise(Callback):
    """A noise scale that grows in proportion to the steps done; not valid before some."""

    def __init__(self, per_step: float, valid_after: int = 0) -> None:
        self._per_step = per_step
        self._valid_after = valid_after
        self._trainer: Trainer | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._trainer = trainer

    def noise_scale(self) -> Planted:
        assert self._trainer is not None
        steps = self._trainer.global_step
        return Planted(estimate=self._per_step * steps, valid=steps >= self._valid_after)
