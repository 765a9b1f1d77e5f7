"""SIGUSR1, SIGTERM and Ctrl-C end a run after the optimizer step at hand, on all ranks alike.

Lightning's own handler runs a collective inside the signal handler, which meets another rank's
gradient reduction half-way. Here a handler only sets a flag; the ranks agree on it at the end of
the step (`Classifier.finish_step`). A second SIGTERM or Ctrl-C ends the process at once; a second
SIGUSR1, the warning ahead of a time limit, changes nothing. The exit code is 128 + the signal's
number: 130, 138 (SIGUSR1 on Linux) or 143.
"""

import signal
import sys
from collections.abc import Iterable
from types import FrameType

from lightning.pytorch import Callback, LightningModule, Trainer

from fullscale.measured_module import STOP_SIGNALS
from fullscale.module import Classifier


class StopOnSignal(Callback):
    """Turns the first of the signals into a stop at the end of the step."""

    def __init__(self) -> None:
        """Nothing is caught until training starts."""
        self._before: dict[int, object] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take SIGUSR1: unhandled it kills, and Lightning would save in its handler under SLURM."""
        assert isinstance(pl_module, Classifier)
        self._take(trainer, pl_module, (signal.SIGUSR1,))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the other signals over, also from Lightning."""
        assert isinstance(pl_module, Classifier)
        self._take(trainer, pl_module, [each for each in STOP_SIGNALS if each not in self._before])

    def _take(
        self, trainer: Trainer, module: Classifier, numbers: Iterable[signal.Signals]
    ) -> None:
        def note(number: int, frame: FrameType | None) -> None:
            if module.stop_signal:
                if number == signal.SIGUSR1:
                    return
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(128 + number)
            module.stop_signal = number
            if trainer.is_global_zero:
                name = signal.Signals(number).name
                more = "" if number == signal.SIGUSR1 else "; once more ends at once"
                print(f"{name}: ends after this step{more}", file=sys.stderr)

        for number in numbers:
            self._before[number] = signal.signal(number, note)

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
