"""The forecast for ResNet-50 on ImageNet, as `predict --json` printed it; none without a record."""

import json
import math
from pathlib import Path
from typing import Any, Final

from models_of_scaling.wording import number_in_words
from paper.numbers.quoted import LEVEL, Quoted

FILE: Final = "forecast_resnet50_imagenet.json"
IMAGENET_TRAIN_EXAMPLES: Final = 1_281_167  # ILSVRC-2012 training split


def forecast_numbers(results: Path) -> list[dict[str, Any]]:
    """Return a row for each forecast batch size; none without the record.

    Args:
        results: the folder of records.
    """
    path = results / FILE
    if not path.exists():
        return []
    rows = []
    for each in json.loads(path.read_text(encoding="utf-8")):
        high = math.inf if each["steps_high"] is None else float(each["steps_high"])
        steps = Quoted(
            estimate=float(each["steps"]), low=float(each["steps_low"]), high=high,
            n=int(each.get("runs", 1)), of="fitted runs", level=float(each.get("level", LEVEL)),
        )  # fmt: skip
        epochs = float(each["steps"]) * each["batch_size"] / IMAGENET_TRAIN_EXAMPLES
        rows.append({
            "batch_size": f"{each['batch_size']:,}",
            "steps": steps.as_json(),
            "epochs": number_in_words(epochs),
        })
    return rows
