"""The trainer as one process: `fullscale.fit.main` in this process."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import cross_entropy

from fullscale.data.digits import digits_arrays
from fullscale.models import build_network
from fullscale.optimizers.registry import BATCH_RULES
from models_of_scaling.provenance import collect_provenance

RECIPES = Path(__file__).parents[2] / "fullscale" / "recipes"
FAST = ("--data.global_batch_size=256", "--model.learning_rate=0.2")


@pytest.fixture
def final_weights(fit, tmp_path):
    """Run in float64 and return the parameters at the end."""

    def run(*flags):
        path = tmp_path / "weights.pt"
        dump = [
            "--trainer.callbacks+=fit_callbacks.DumpWeights",
            f"--trainer.callbacks.path={path}",
        ]
        code, trial, err = fit("--trainer.precision=64-true", *dump, *flags)
        assert code == 0, err
        (file,) = (tmp_path / "trials").glob("*.parquet")
        file.unlink()
        return [weight.numpy() for weight in torch.load(path, weights_only=True)], trial

    return run


@pytest.mark.parametrize("optimizer", [*BATCH_RULES, "soap", "sam:lamb", "lookahead:kfac"])
def test_rules_that_look_at_more_than_a_gradient_take_20_steps_and_learn(fit, optimizer):
    code, trial, err = fit(
        *(
            "--data.global_batch_size=96",
            "--model.name=mlp_width8",
            "--data.evaluate_every=20 steps",
        ),
        # A Newton step is whole at rate 1.
        f"--model.learning_rate={0.5 if optimizer == 'saddle_free' else 0.02}",
        f"--model.optimizer={optimizer}",
        *("--model.train_duration=20 steps", "--data.max_per_device_batch_size=48"),
    )
    assert code == 0, err
    assert (trial.steps, trial.optimizer) == (20, optimizer)
    assert trial.curve_train_loss[-1] < math.log(10)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model.optimizer=kfac", "--model.compile=true"), "--model.compile true: kfac watches"),
        (
            ("--model.optimizer=kfac", "--model.optimizer_numbers={inverse_every: 0.5}"),
            "inverse_every 0.5 must be a whole number of steps, at least 1",
        ),
        (
            (
                *("--model.optimizer=adascale", "--model.name=resnet8"),
                "--model.batch_norm_span=32",
            ),
            "--model.batch_norm_span 32: adascale cuts each forward into parts",
        ),
        (("--model.optimizer=sam:kfac",), "kfac makes its own gradient already"),
    ],
)
def test_what_does_not_go_with_a_rule_that_asks_is_refused(fit, flags, message):
    code, trial, err = fit(*FAST, *flags)
    assert (code, trial) == (2, None)
    assert message in err


def test_a_run_stops_at_the_first_evaluation_that_meets_the_target(fit):
    code, trial, err = fit(*FAST, "--model.target=validation_accuracy>=0.9")
    assert (code, err) == (0, "")
    assert trial.status == "reached"
    assert trial.steps == trial.curve_steps[-1] < 80
    assert trial.curve_validation_accuracy[-1] >= 0.9
    assert max(trial.curve_validation_accuracy[:-1]) < 0.9
    assert trial.examples == 256 * trial.steps


def test_the_trial_says_everything_about_the_run(fit, capsys):
    code, trial, _ = fit(
        *FAST,
        "--model.train_duration=9 steps",
        "--model.warmup=2 steps",
        "--data.seed=4",
        "--record.study=mine",
    )
    assert code == 0
    assert (trial.status, trial.steps, trial.seed, trial.batch_size) == ("not_reached", 9, 4, 256)
    assert (trial.study, trial.dataset, trial.model) == ("mine", "digits", "mlp")
    assert (trial.num_train_examples, trial.num_parameters) == (1024, 2410)
    # Every 4 steps (an epoch), and the last step, which is no multiple of 4.
    assert trial.curve_steps == [4, 8, 9]
    assert all(np.isfinite(trial.curve_train_loss))
    assert trial.curve_train_loss[0] == pytest.approx(math.log(10), rel=0.1)
    assert dict(trial.hyper_parameters) == {
        "learning_rate": 0.2,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "warmup_steps": 2.0,
        "warmup_start": 0.0,
        "num_train_steps": 9.0,
        "decay_power": 2.0,
        "end_learning_rate": 0.0,
        "label_smoothing": 0.0,
    }
    assert trial.commit == collect_provenance().commit
    assert "1 nodes x 1 processes" in trial.device
    assert trial.wall_time_s > 0


def test_the_first_lines_say_what_is_run(tmp_path, capsys):
    from fullscale.fit import main

    main([
        *FAST,
        "--trainer.max_steps=1",
        f"--record.folder={tmp_path}",
        "--data.seed=3",
        "--data.max_per_device_batch_size=100",
        "--trainer.accelerator=cpu",
    ])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "batch   256 = 86 per device x 1 devices x 3 accumulation"
        " (at most; shares differ, each example weighs 1/B)"
    )
    text = "\n".join(lines[:6])
    for words in (
        "peak 0.2",
        "80 steps = 20 epochs, stopped at 1",
        "validation_accuracy>=0.95",
        "seed    3",
        f"commit {collect_provenance().commit[:12]}",
    ):
        assert words in text
    assert lines[-1].startswith("not_reached: 1 steps, 256 examples; ")


def test_a_full_batch_step_is_the_exact_full_gradient(final_weights):
    rate = 0.3
    got, _ = final_weights(
        "--data.global_batch_size=1024",
        "--model.train_duration=1 steps",
        "--data.seed=2",
        f"--model.learning_rate={rate}",
        "--model.momentum=0",
        "--model.decay_power=0",
        "--data.max_per_device_batch_size=100",
    )
    arrays = digits_arrays()
    network = build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=2).double()
    images = torch.from_numpy(arrays.train_images).double()
    cross_entropy(network(images), torch.from_numpy(arrays.train_labels)).backward()
    for weight, parameter in zip(got, network.parameters(), strict=True):
        want = (parameter - rate * parameter.grad).detach().numpy()
        np.testing.assert_allclose(weight, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("limit", [1, 20, 96])
def test_accumulation_gives_the_same_updates_and_evaluations(final_weights, limit):
    run = ("--data.global_batch_size=97", "--model.train_duration=12 steps")
    want, trial = final_weights(*run)
    got, other = final_weights(*run, f"--data.max_per_device_batch_size={limit}")
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    assert other.curve_validation_accuracy == trial.curve_validation_accuracy
    np.testing.assert_allclose(other.curve_train_loss, trial.curve_train_loss, rtol=1e-12)
    np.testing.assert_allclose(other.curve_validation_loss, trial.curve_validation_loss, rtol=1e-12)


def test_workers_change_nothing(final_weights):
    run = ("--data.global_batch_size=97", "--model.train_duration=4 steps")
    want, _ = final_weights(*run)
    got, _ = final_weights(*run, "--data.num_workers=2")
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("optimizer", ["momentum", "lars"])
def test_the_learning_rate_of_each_step_is_the_schedules(final_weights, optimizer):
    """Two steps by Lightning against two by hand: warm-up of one step, then linear decay."""
    got, _ = final_weights(
        "--data.global_batch_size=1024",
        "--model.train_duration=3 steps",
        "--model.warmup=2 steps",
        "--model.decay_power=1",
        "--model.learning_rate=0.5",
        f"--model.optimizer={optimizer}",
        "--trainer.max_steps=2",
    )
    from fullscale.optimizers.registry import get_update_rule
    from fullscale.optimizers.rule_optimizer import RuleOptimizer

    arrays = digits_arrays()
    network = build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=0).double()
    by_hand = RuleOptimizer(
        network.parameters(), rule=get_update_rule(optimizer), learning_rate=9.0
    )
    images = torch.from_numpy(arrays.train_images).double()
    for rate in (0.25, 0.5):
        by_hand.zero_grad()
        cross_entropy(network(images), torch.from_numpy(arrays.train_labels)).backward()
        by_hand.param_groups[0]["lr"] = rate
        by_hand.step()
    for weight, parameter in zip(got, network.parameters(), strict=True):
        np.testing.assert_allclose(weight, parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rate", ["1e30", "1e4"])
def test_a_run_that_blows_up_is_recorded_as_diverged_and_stops(fit, rate):
    code, trial, _ = fit(
        "--data.global_batch_size=256",
        f"--model.learning_rate={rate}",
        "--data.evaluate_every=1 steps",
    )
    assert code == 0
    assert trial.status == "diverged"
    assert trial.steps < 80


def test_an_exception_in_a_callback_is_raised_and_the_trial_is_there(fit, tmp_path, only_trial):
    with pytest.raises(RuntimeError, match="planted"):
        fit(*FAST, "--trainer.callbacks+=fit_callbacks.FailAtStep", "--trainer.callbacks.step=6")
    trial = only_trial(tmp_path / "trials")
    assert (trial.status, trial.steps, trial.curve_steps) == ("interrupted", 6, [4])


def test_a_keyboard_interrupt_anywhere_leaves_the_trial_and_code_130(fit):
    code, trial, _ = fit(
        *FAST,
        "--trainer.callbacks+=fit_callbacks.FailAtStep",
        "--trainer.callbacks.step=6",
        "--trainer.callbacks.interrupt=true",
    )
    assert code == 130
    assert (trial.status, trial.steps) == ("interrupted", 6)


def test_a_time_limit_of_the_trainer_is_an_interruption(fit):
    code, trial, _ = fit(
        *FAST,
        "--model.train_duration=100000 epochs",
        "--model.target=validation_accuracy>=1",
        "--trainer.max_time={seconds: 1}",
        "--data.evaluate_every=1000 epochs",
    )
    assert code == 0
    assert trial.status == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize("part", [1, 2])
def test_a_time_limit_is_one_of_each_part_of_a_run(fit, tmp_path, part):
    """As Lightning keeps it, a second part would end after its first step, and so would a third."""
    flags = (
        *(*FAST, "--model.train_duration=100000 epochs", "--model.target=validation_accuracy>=1"),
        *("--trainer.max_time={seconds: 1}", "--data.evaluate_every=1000 epochs"),
        f"--checkpoint.folder={tmp_path / 'checkpoints'}",
    )
    steps = [fit(*flags)[1].steps for _ in range(part)]
    assert fit(*flags)[1].steps > steps[-1] + 1


def test_a_loss_in_bfloat16_is_summed_in_more_digits_than_three(fit, tmp_path):
    """1,024 losses of 2.3: bfloat16 has steps of 16 there, 0.016 of the mean."""
    flags = (*FAST[1:], "--data.global_batch_size=1024", "--trainer.max_steps=1")
    exact = fit(*flags)[1].curve_train_loss[0]
    for file in (tmp_path / "trials").iterdir():
        file.unlink()
    # Each loss is rounded to 0.008 at random: 0.0002 for their mean, and four times that.
    assert fit(*flags, "--trainer.precision=bf16-true")[1].curve_train_loss[0] == pytest.approx(
        exact, abs=8e-4
    )


def test_a_check_of_the_code_records_nothing(fit):
    assert fit(*FAST, "--trainer.fast_dev_run=2", "--data.max_per_device_batch_size=64")[:2] == (
        0,
        None,
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--data.global_batch_size is missing"),
        (("--data.global_batch_size=0",), "--data.global_batch_size 0 must be at least 1"),
        (("--data.global_batch_size=many",), "data.global_batch_size"),
        ((*FAST, "--data.name=svhn"), "--data.name 'svhn' is not one of digits"),
        ((*FAST, "--model.name=vgg"), "--model.name 'vgg' is not one of mlp"),
        ((*FAST, "--model.optimizer=adem"), "optimizer 'adem' is not one of sgd, momentum"),
        ((*FAST, "--model.optimizer_numbers={eta: 1}"), "eta is not one of momentum"),
        ((*FAST, "--model.momentum=-1"), "momentum -1 must be at least 0 and below 1"),
        ((*FAST, "--model.learning_rate=0"), "--model.learning_rate 0.0 must be positive"),
        ((*FAST, "--model.end_learning_rate=1"), "--model.end_learning_rate 1.0 must be between"),
        ((*FAST, "--model.label_smoothing=1"), "--model.label_smoothing 1.0 must be in [0, 1)"),
        ((*FAST, "--model.target=accuracy"), "target 'accuracy' is not of the form"),
        ((*FAST, "--model.warmup=20 epochs"), "must be shorter than the run of 80 steps"),
        ((*FAST, "--model.name=resnet50"), "resnet50 wants 3 channels, the data have 1"),
        ((*FAST, "--stop.max_loss_factor=1"), "--stop.max_loss_factor 1.0 must be more than 1"),
        ((*FAST, "--data.seed=-1"), "--data.seed -1 must not be negative"),
        ((*FAST, "--data.num_workers=-1"), "--data.num_workers -1 must not be negative"),
        ((*FAST, "--model.modle=3"), "modle"),
        ((*FAST, "fit"), "unrecognized arguments: fit; --help lists the flags"),
        ((*FAST, "--trainer.accumulate_grad_batches=2"), "is the only batch input"),
        ((*FAST, "--trainer.val_check_interval=5"), "use --data.evaluate_every"),
        ((*FAST, "--trainer.limit_train_batches=5"), "use --trainer.max_steps"),
        ((*FAST, "--trainer.limit_train_batches=1"), "use --trainer.max_steps"),
        ((*FAST, "--trainer.limit_val_batches=1"), "would follow from the devices"),
        ((*FAST, "--trainer.limit_val_batches=0"), "would follow from the devices"),
        ((*FAST, "--trainer.sync_batchnorm=true"), "use --model.batch_norm_span"),
        ((*FAST, "--trainer.precision=transformer-engine"), "--trainer: Requirement 'transformer"),
        (
            (
                *FAST,
                "--trainer.callbacks+=lightning.pytorch.callbacks.GradientAccumulationScheduler",
                "--trainer.callbacks.scheduling={0: 2}",
            ),
            "--trainer.callbacks GradientAccumulationScheduler is not supported",
        ),
        (
            (*FAST, "--record.folder=/proc/nothing"),
            "--record.folder /proc/nothing can't be written",
        ),
        ((*FAST, "--trainer.devices=300"), "must not be smaller than the 300 processes"),
    ],
)
def test_wrong_input_is_one_line_and_code_2_and_writes_nothing(fit, flags, words):
    code, trial, err = fit(*flags)
    assert code == 2
    assert trial is None
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert words in err


def test_an_unknown_key_in_a_recipe_is_named_with_its_file(fit, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {lerning_rate: 1}\ndata: {global_batch_size: 8}\n")
    code, _, err = fit(f"--config={recipe}")
    assert code == 2
    assert "lerning_rate" in err
    assert str(recipe) in err


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_parses_and_prints_back_what_it_sets(recipe, fit, capsys):
    from fullscale.fit import main

    with pytest.raises(SystemExit) as left:
        main(["--config", str(recipe), "--print_config"])
    assert left.value.code in {0, None}
    resolved = yaml.safe_load(capsys.readouterr().out)
    for group, settings in yaml.safe_load(recipe.read_text()).items():
        for name, value in settings.items():
            assert resolved[group][name] == value, name


def test_the_digits_recipe_reaches_its_target_within_its_spread(fit):
    code, trial, _ = fit("--config", str(RECIPES / "digits_mlp_momentum_256.yaml"))
    assert code == 0
    assert trial.status == "reached"
    assert trial.steps == pytest.approx(24.8, abs=4 * 3.3)  # the header's mean and four of its sd
