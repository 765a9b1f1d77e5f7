"""A callback that writes what a run's gradient noise scale says, tensor by tensor."""

import json
from pathlib import Path

from lightning.pytorch import Callback

from fullscale.callbacks.gradient_noise import GradientNoiseScale


class DumpNoise(Callback):
    """Rank zero's word at the end; it must come after the callback that measures."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def on_train_end(self, trainer, pl_module):
        (noise,) = [c for c in trainer.callbacks if isinstance(c, GradientNoiseScale)]
        if trainer.is_global_zero:
            said = {"all": noise.noise_scale(), **noise.layer_noise_scales()}
            if noise.preconditioner != "none":
                said["preconditioned"] = noise.preconditioned_noise_scale()
            # FSDP2 and tensor parallelism leave the names as they are.
            found = {n: [e.trace, e.sq_norm, e.low] for n, e in said.items()}
            self._path.write_text(json.dumps(found))
