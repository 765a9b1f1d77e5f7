"""SIGTERM and Ctrl-C end a run after the optimizer step at hand, on all ranks alike.

Lightning's own handler runs a collective inside the signal handler, which meets another rank's
gradient reduction half-way. Here a handler only sets a flag; the ranks agree on it at the end of
the step (`Classifier.finish_step`). A second signal ends the process at once.
"""

import signal
import sys
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.module import Classifier

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(Callback):
    """Turns the first SIGTERM or SIGINT into a stop at the end of the step."""

    def __init__(self) -> None:
        """Nothing is caught until training starts."""
        self._before: dict[int, object] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over, also from Lightning."""
        assert isinstance(pl_module, Classifier)

        def note(number: int, frame: FrameType | None) -> None:
            if pl_module.stop_signal:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(128 + number)
            pl_module.stop_signal = number
            if trainer.is_global_zero:
                name = signal.Signals(number).name
                print(f"{name}: ends after this step; once more ends at once", file=sys.stderr)

        self._before = {number: signal.signal(number, note) for number in _SIGNALS}

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the signals back after an error: Lightning skips `teardown` then."""
        self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
