"""What branching found at each checkpoint, beside the noise scale there; by what factor they agree.

Pure functions of finished numbers: a row a checkpoint, and words.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models_of_scaling.branching import (
    BranchAnswer,
    Branches,
    answer_with_interval,
    best_rules,
    critical_batch_size,
    efficiencies_by,
    lossless_batch_size,
    steep_bracket,
)
from models_of_scaling.intervals import Interval
from models_of_scaling.noise_scale import NoiseScale
from models_of_scaling.quotient_of_means import quotient_of_means
from models_of_scaling.wording import interval_in_words, number_in_words


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """One checkpoint.

    Attributes:
        examples: processed by the base run.
        train_loss: of the base run there, geometric mean over seeds.
        critical: critical batch size by branching, the best rule at each batch size.
        by_rule: likewise, by each rule alone.
        lossless: largest batch size that loses no more than the tolerance, by each rule.
        noise_scale: at the checkpoint, tr(Sigma) and |G|^2 averaged over seeds.
        curvature_noise_scale: tr(H Sigma) / (G' H G) there, where it is known.
    """

    examples: int
    train_loss: float
    critical: BranchAnswer
    by_rule: dict[str, BranchAnswer]
    lossless: dict[str, BranchAnswer]
    noise_scale: BranchAnswer
    curvature_noise_scale: BranchAnswer | None = None


def checkpoint_row(
    branches: Branches,
    noise: Sequence[NoiseScale],
    *,
    curvature_noise: NoiseScale | None = None,
    tolerance: float,
    level: float = 0.9,
) -> CheckpointRow:
    """Reduce what was trained from one checkpoint.

    Args:
        branches: of the checkpoint.
        noise: scale of each seed there; a single, exact one of exact branches.
        curvature_noise: with curvature, where it is known.
        tolerance: share of the loss that may be lost.
        level: of the intervals.

    Returns:
        The row.
    """
    base = branches.base_batch_size

    def ask(rules: Sequence[str]) -> BranchAnswer:
        def answer(some: Branches) -> float:
            found = efficiencies_by(some, rules)
            return critical_batch_size(some.batch_sizes, found, base_batch_size=base)

        said = answer_with_interval(branches, answer, level=level)
        found = efficiencies_by(branches, rules)
        cliff = steep_bracket(branches.batch_sizes, found, base_batch_size=base)
        if cliff is None:
            return said
        return replace(said, low=min(said.low, cliff[0]), high=max(said.high, cliff[1]))

    def ask_lossless(rule: str) -> BranchAnswer:
        return answer_with_interval(
            branches, lambda some: lossless_batch_size(some, rule, tolerance=tolerance), level=level
        )

    return CheckpointRow(
        examples=branches.examples,
        train_loss=float(np.exp(np.log(branches.base_loss_RN[1.0][:, 0]).mean())),
        critical=ask(best_rules(branches)),
        by_rule={rule: ask([rule] * len(branches.batch_sizes)) for rule in branches.loss_RM},
        lossless={rule: ask_lossless(rule) for rule in branches.loss_RM},
        noise_scale=_noise_answer(noise, level=level),
        curvature_noise_scale=(
            None if curvature_noise is None else _noise_answer([curvature_noise], level=level)
        ),
    )


def _noise_answer(noise: Sequence[NoiseScale], *, level: float) -> BranchAnswer:
    """Average seeds; a single noise scale keeps its own ends."""
    if len(noise) == 1:
        (own,) = noise
        return BranchAnswer(estimate=own.estimate, low=own.low, high=own.high, level=own.level)
    scale = quotient_of_means(
        np.array([each.trace for each in noise]),
        np.array([each.sq_norm for each in noise]),
        weights_J=np.ones(len(noise)),
        level=level,
    )
    return BranchAnswer(estimate=scale.estimate, low=scale.low, high=scale.high, level=level)


def table_in_words(rows: Sequence[CheckpointRow], steps_to_target: Interval) -> str:
    """Return the table and by what factor its columns agree.

    Args:
        rows: one a checkpoint.
        steps_to_target: the critical batch size of the law over steps to target.
    """
    known = rows[0].curvature_noise_scale is not None
    head = f"{'  examples  train loss  B_crit by branching':<52}noise scale"
    lines = [f"{head:<81}with curvature" if known else head]
    for row in rows:
        line = (
            f"{row.examples:>10,}  {row.train_loss:>10.3g}  {_cell(row.critical):<27} "
            f"{_cell(row.noise_scale)}"
        )
        curved = row.curvature_noise_scale
        lines.append(line if curved is None else f"{line:<81}{_cell(curved)}")
    lines.append(f"B_crit by steps to target: {interval_in_words(steps_to_target)}")
    lines += agreement_in_words(rows, steps_to_target)
    return "\n".join(lines)


def _cell(answer: BranchAnswer) -> str:
    low, high = number_in_words(answer.low), number_in_words(answer.high)
    if math.isinf(answer.estimate):
        return f"more than {low}"
    if answer.estimate == 0:
        return f"less than {high}"
    if math.isnan(answer.estimate):
        return f"{low} to {high}"
    if answer.low == answer.high:
        return number_in_words(answer.estimate)
    return f"{number_in_words(answer.estimate)} ({low} to {high})"


def _known(answer: BranchAnswer) -> bool:
    return math.isfinite(answer.estimate) and answer.estimate > 0


def agreement_in_words(rows: Sequence[CheckpointRow], steps_to_target: Interval) -> list[str]:
    """Return by what factor branching differs from the other two, over the checkpoints.

    Args:
        rows: one a checkpoint.
        steps_to_target: the critical batch size of the law over steps to target.

    Returns:
        Sentences; where too few checkpoints have a number, they say so.
    """

    def beside(scales: Sequence[BranchAnswer]) -> list[float]:
        pairs = zip((row.critical for row in rows), scales, strict=True)
        return [a.estimate / b.estimate for a, b in pairs if _known(a) and _known(b)]

    curved = [each for row in rows if (each := row.curvature_noise_scale) is not None]
    branched = [row.critical.estimate for row in rows if _known(row.critical)]
    said = []
    for ratios, other in (
        (beside([row.noise_scale for row in rows]), "the noise scale at the same checkpoint"),
        *([(beside(curved), "the noise scale with curvature there")] if curved else []),
        (
            [each / steps_to_target.estimate for each in branched]
            if 0 < steps_to_target.estimate < math.inf
            else [],
            "B_crit by steps to target",
        ),
    ):
        if not ratios:
            said.append(f"Branching beside {other}: no checkpoint has both numbers.")
            continue
        middle = math.exp(sum(map(math.log, ratios)) / len(ratios))
        said.append(
            f"B_crit by branching is {middle:.2g} times {other} (geometric mean over "
            f"{len(ratios)} of {len(rows)} checkpoints, {min(ratios):.2g} to {max(ratios):.2g})."
        )
    return said


def row_cells(row: CheckpointRow) -> dict[str, float]:
    """Return a row's numbers by column, for a CSV file."""
    cells = {"examples": float(row.examples), "train_loss": row.train_loss}
    answers = {"critical_batch_size": row.critical, "gradient_noise_scale": row.noise_scale}
    if row.curvature_noise_scale is not None:
        answers["curvature_noise_scale"] = row.curvature_noise_scale
    answers |= {f"critical_batch_size_{rule}": each for rule, each in row.by_rule.items()}
    answers |= {f"lossless_batch_size_{rule}": each for rule, each in row.lossless.items()}
    for name, answer in answers.items():
        cells |= {
            name: answer.estimate,
            f"{name}_low": answer.low,
            f"{name}_high": answer.high,
        }
    return cells
