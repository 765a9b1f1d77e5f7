"""A batch that grows: the decay's noise, the same examples, the right steps; against a twin."""

import csv
import math
import signal

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fullscale.batch_growth import BatchGrowth, BatchPhases, parse_table
from fullscale.batch_layout import BatchLayout
from fullscale.data.digits import digits_arrays
from fullscale.data.image_source import ArraySource
from fullscale.data.micro_batches import TrainMicroBatches
from fullscale.data.order import stream_indices
from fullscale.durations import Duration
from fullscale.learning_rate import LearningRate
from fullscale.models import build_network
from fullscale.run_plan import plan_run
from models_of_scaling.errors import InputError

NUM_EXAMPLES = 1024  # of digits
PIECES = {"boundaries": (1 / 3, 2 / 3, 8 / 9), "factors": (1.0, 0.2, 0.04, 0.008)}
DECAY = (
    "--data.global_batch_size=40",
    "--model.train_duration=6 epochs",
    "--model.schedule=piecewise",
    "--model.schedule_numbers={boundaries: [0.33333333, 0.66666667, 0.88888889], "
    "factors: [1.0, 0.2, 0.04, 0.008]}",
    "--model.learning_rate=0.1",
    "--model.warmup=10 steps",
    "--model.target=validation_accuracy>=1",
)
DROPS = ("--data.grow_with_decay=true", "--model.schedule=step")
GROWN = (*DECAY, "--data.grow_with_decay=true")


@pytest.fixture
def one_thread():
    """Sums in the same order to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plan_of(batch_size, growth, *, epochs=9, processes=1, num_examples=NUM_EXAMPLES):
    layout = BatchLayout(
        global_batch_size=batch_size, world_size=processes, max_per_device_batch_size=64
    )
    return plan_run(
        layout=layout,
        num_train_examples=num_examples,
        train_duration=f"{epochs} epochs",
        evaluate_every="1 epochs",
        growth=growth,
    )


def rate_of(plan, step, **more):
    rate = LearningRate(
        given_peak=0.4,
        schedule_name="piecewise",
        schedule_numbers=PIECES,
        warmup=Duration(amount=0, unit="steps"),
        **more,
    )
    return rate.at(step, plan=plan, schedule=rate.schedule(plan))


@pytest.mark.parametrize("batch_size", [16, 37, 64, 200])
@pytest.mark.parametrize("largest", [None, 300])
def test_every_example_is_met_at_the_rate_over_batch_of_the_decay(batch_size, largest):
    """Apart from what a grown step reaches beyond its phase: less than the step itself."""
    decay = plan_of(batch_size, BatchGrowth())
    grown = plan_of(batch_size, BatchGrowth(with_decay=True, largest=largest, **PIECES))
    assert max(phase.batch_size for phase in grown.phases.phases) <= (largest or NUM_EXAMPLES)
    compared = 0
    for step in range(grown.num_train_steps):
        phase = grown.phases.at(step)
        place = grown.examples(step)
        if place >= decay.examples(decay.num_train_steps):
            continue
        twin = place // batch_size
        noise = rate_of(grown, step) / phase.batch_size
        assert noise == pytest.approx(rate_of(decay, twin) / batch_size, rel=1e-12)
        compared += 1
    assert compared > 10


def test_a_run_has_the_examples_of_the_constant_batch_where_its_batches_divide_them():
    growth = BatchGrowth(with_decay=True, boundaries=(0.5,), factors=(1.0, 0.5))
    grown = plan_of(32, growth, epochs=8)
    constant = plan_of(32, BatchGrowth(), epochs=8)
    assert (constant.num_train_steps, grown.num_train_steps) == (256, 128 + 64)
    assert grown.examples(grown.num_train_steps) == constant.examples(256) == 8 * NUM_EXAMPLES
    assert grown.epochs == 8


def test_a_run_ends_with_the_first_step_that_covers_its_examples():
    for batch_size in range(20, 60):
        grown = plan_of(batch_size, BatchGrowth(with_decay=True, **PIECES))
        want = math.ceil(9 * NUM_EXAMPLES / batch_size) * batch_size
        steps = grown.num_train_steps
        assert grown.examples(steps - 1) < want <= grown.examples(steps)


def test_smiths_factor_of_five_makes_batches_5_25_and_125_times_as_large():
    plan = plan_of(8, BatchGrowth(with_decay=True, **PIECES))
    assert [phase.batch_size for phase in plan.phases.phases] == [8, 40, 200, 1000]
    # At the bound, here the whole set, the rate decays by what the batch can't grow.
    plan = plan_of(32, BatchGrowth(with_decay=True, **PIECES))
    assert [phase.batch_size for phase in plan.phases.phases] == [32, 160, 800, 1024]
    rates = [rate_of(plan, phase.first_step) for phase in plan.phases.phases]
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.4, 0.4 * 0.008 * 32], rtol=1e-12)


@pytest.mark.parametrize("processes", [1, 3])
def test_each_example_comes_once_an_epoch_across_the_phases(processes):
    plan = plan_of(
        24, BatchGrowth(table=parse_table(["1 epochs: 100", "3 epochs: 333"])), processes=processes
    )
    source = ArraySource(digits_arrays())
    sequences = [
        TrainMicroBatches(
            source,
            layout=plan.layout,
            phases=plan.phases,
            rank=rank,
            num_steps=plan.num_train_steps,
            seed=5,
        )
        for rank in range(processes)
    ]
    assert len({len(each) for each in sequences}) == 1
    # Sums over each step's images, whoever has them, are those of the stream's next examples.
    forward = 0
    for step in range(plan.num_train_steps):
        forwards = plan.layout_of(plan.phases.at(step).batch_size).accumulate_grad_batches
        met = 0.0
        for each in range(forward, forward + forwards):
            for sequence in sequences:
                images, _, weights = sequence[each]
                met = met + (images.double() * weights.double()[:, None, None, None]).sum(dim=0)
        forward += forwards
        indices = stream_indices(
            seed=5,
            num_examples=NUM_EXAMPLES,
            start=plan.examples(step),
            stop=plan.examples(step + 1),
        )
        want = source.train_batch(indices, range(len(indices)))[0].double().sum(dim=0)
        torch.testing.assert_close(met, want, rtol=1e-12, atol=1e-12)
    assert forward == len(sequences[0])


def test_a_sequence_that_begins_in_a_phase_is_the_rest_of_the_whole_one():
    plan = plan_of(24, BatchGrowth(table=parse_table(["1 epochs: 100", "3 epochs: 333"])))
    source = ArraySource(digits_arrays())
    common = {"layout": plan.layout, "phases": plan.phases, "rank": 0, "seed": 5}
    whole = TrainMicroBatches(source, num_steps=plan.num_train_steps, **common)
    for first_step in (10, plan.phases.phases[1].first_step, plan.phases.phases[2].first_step - 1):
        rest = TrainMicroBatches(
            source, num_steps=plan.num_train_steps, first_step=first_step, **common
        )
        offset = len(whole) - len(rest)
        assert offset > 0
        for forward in (0, 1, len(rest) - 1):
            assert torch.equal(rest[forward][0], whole[offset + forward][0])


def twin_weights(batch_size, *, epochs, boundaries, factors, peak, warmup_steps):
    """A plain loop over the stream in float64: momentum SGD, its batch grown by hand."""
    arrays = digits_arrays()
    images = torch.from_numpy(arrays.train_images).double()
    labels = torch.from_numpy(arrays.train_labels)
    network = build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=0).double()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    constant_steps = math.ceil(epochs * NUM_EXAMPLES / batch_size)
    drops = [math.ceil(each * constant_steps - 1e-9) * batch_size for each in boundaries]
    place, sizes = 0, []
    while place < constant_steps * batch_size:
        factor = factors[sum(place >= drop for drop in drops)]
        size = min(round(batch_size / factor), NUM_EXAMPLES)
        rate = peak * factor * size / batch_size
        if place < warmup_steps * batch_size:
            rate = peak * (place // batch_size + 1) / warmup_steps
        rows = stream_indices(seed=0, num_examples=NUM_EXAMPLES, start=place, stop=place + size)
        optimizer.zero_grad()
        cross_entropy(network(images[rows]), labels[rows]).backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        place += size
        sizes.append(size)
    return [p.detach().numpy() for p in network.parameters()], sizes


def weights_of(fit, tmp_path, *flags):
    path = tmp_path / "weights.pt"
    code, trial, err = fit(
        "--trainer.precision=64-true",
        "--trainer.callbacks+=fit_callbacks.DumpWeights",
        f"--trainer.callbacks.path={path}",
        *flags,
    )
    assert code == 0, err
    return [weight.numpy() for weight in torch.load(path, weights_only=True)], trial


def test_a_grown_run_is_the_plain_loop_in_float64_and_says_what_it_did(fit, tmp_path, capsys):
    # 17 examples in a forward: 3, 12 and 59 forwards a step.
    got, trial = weights_of(fit, tmp_path, *GROWN, "--data.max_per_device_batch_size=17")
    want, sizes = twin_weights(
        40,
        epochs=6,
        boundaries=(0.33333333, 0.66666667, 0.88888889),
        factors=(1.0, 0.2, 0.04, 0.008),
        peak=0.1,
        warmup_steps=10,
    )
    for a, b in zip(got, want, strict=True):
        # float64: sums in another order, over 60 steps.
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert sorted(set(sizes)) == [40, 200, 1000]
    assert (trial.steps, trial.examples, trial.batch_size) == (len(sizes), sum(sizes), 40)
    assert trial.workload == "digits_mlp_growing_batch"
    said = trial.settings["batch_phases"].split(",")
    assert said == [f"{sizes.index(size)}:{size}" for size in (40, 200, 1000)]
    (path,) = (tmp_path / "trials").glob("*.metrics.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [int(row["steps"]) for row in rows] == list(trial.curve_steps)
    for row in rows:
        steps = int(row["steps"])
        assert int(row["batch_size"]) == sizes[steps - 1]
        assert int(row["examples"]) == sum(sizes[:steps])


def test_an_epoch_between_evaluations_is_counted_in_each_phases_own_steps(fit):
    code, trial, _ = fit(*GROWN, "--data.evaluate_every=1 epochs")
    assert code == 0
    first, second = (
        int(each.split(":")[0]) for each in trial.settings["batch_phases"].split(",")[1:3]
    )
    every = [step for step in trial.curve_steps if step <= first]
    assert every == list(range(26, first + 1, 26))  # 1,024 / 40 rounded up
    every = [step for step in trial.curve_steps if first < step <= second]
    assert every == list(range(first + 6, second + 1, 6))
    assert trial.curve_steps[-1] == trial.steps


@pytest.mark.usefixtures("one_thread")
def test_a_grown_run_stopped_anywhere_and_resumed_is_bit_equal_to_an_undisturbed_one(fit, tmp_path):
    """Where the second phase begins; in a phase: test_policies_processes.py."""
    step = 52
    limit = "--data.max_per_device_batch_size=64"
    want, trial = weights_of(fit, tmp_path, *GROWN, limit)
    starts = [int(each.split(":")[0]) for each in trial.settings["batch_phases"].split(",")]
    assert starts[1] == 52
    for file in (tmp_path / "trials").iterdir():
        file.unlink()
    saved = (f"--checkpoint.folder={tmp_path / 'checkpoints'}", "--checkpoint.every=1 epochs")
    code, stopped, _ = fit(
        *GROWN,
        *saved,
        limit,
        "--trainer.precision=64-true",
        "--trainer.callbacks+=fit_callbacks.SignalAtStep",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.number={int(signal.SIGINT)}",
    )
    assert (code, stopped.steps) == (130, step)
    got, other = weights_of(fit, tmp_path, *GROWN, *saved, limit)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert other.trial_id == trial.trial_id
    assert other.curve_steps == trial.curve_steps
    assert other.curve_train_loss == trial.curve_train_loss


def test_the_steps_of_a_table_keep_the_rate_or_scale_it():
    growth = BatchGrowth(table=parse_table(["3 epochs: 128"]))
    plan = plan_of(32, growth)
    late = plan.phases.phases[1].first_step
    assert late == 96
    assert rate_of(plan, late - 1) == rate_of(plan, 0) == 0.4
    # A third of the run is over: the schedule drops there by five, at the same example.
    assert rate_of(plan, late) == pytest.approx(0.4 / 5)
    assert rate_of(plan, late, growth_scaling="sqrt") == pytest.approx(0.4 / 5 * 2)
    assert rate_of(plan, late, growth_scaling="linear") == pytest.approx(0.4 / 5 * 4)


def test_steps_to_an_example_and_examples_of_steps_are_inverse():
    phases = BatchPhases.constant(10).then(30, examples=95).then(70, examples=221)
    assert [(p.first_step, p.first_example) for p in phases.phases] == [
        (0, 0),
        (10, 100),
        (15, 250),
    ]
    for steps in range(40):
        examples = phases.examples(steps)
        assert phases.steps_to(examples) == steps
        assert phases.steps_to(examples + 1) == steps + 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--data.grow_with_decay=true",), "needs a schedule that drops in steps"),
        (
            (
                "--data.grow_with_decay=true",
                "--model.schedule=step",
                "--data.batch_phases=['1 epochs: 9']",
            ),
            "exclude each other",
        ),
        (("--data.max_global_batch_size=512",), "is for a batch that grows"),
        (
            (
                "--data.grow_with_decay=true",
                "--model.schedule=step",
                "--data.max_global_batch_size=2048",
            ),
            "--data.max_global_batch_size 2048 must be between the first batch 256 and the 1024",
        ),
        (("--data.batch_phases=['1 epochs 512']",), "is not of the form '10 epochs: 1024'"),
        (("--data.batch_phases=['1 epochs: 200']",), "be larger than the batch before, 256"),
        (
            ("--data.batch_phases=['2 epochs: 512', '1 epochs: 1024']",),
            "must come later than 2048 examples",
        ),
        (
            (
                *("--data.grow_with_decay=true", "--model.schedule=piecewise"),
                "--model.schedule_numbers={boundaries: [0.5], factors: [0.5, 1.0]}",
            ),
            "must fall and stay above 0",
        ),
        (
            (*DROPS, "--model.warmup=10 epochs"),
            "must be over where the schedule drops first",
        ),
        (
            (
                *("--data.batch_phases=['1 epochs: 512']", "--mlperf_log.org=us"),
                "--mlperf_log.file=/tmp/unused_log.txt",
            ),
            "its log has one batch size",
        ),
    ],
)
def test_what_can_not_grow_is_refused_in_one_line(fit, flags, words):
    code, trial, err = fit("--data.global_batch_size=256", *flags)
    assert (code, trial) == (2, None)
    assert len(err.splitlines()) == 1, err
    assert words in err


def test_a_batch_that_does_not_grow_has_no_table(fit):
    with pytest.raises(InputError, match="needs a schedule"):
        BatchGrowth(with_decay=True)
    code, trial, _ = fit("--data.global_batch_size=256", "--model.train_duration=2 steps")
    assert code == 0
    assert "batch_phases" not in trial.settings
