"""What is said against a noise scale, for how long; and what a resumed run goes on with."""

import pytest
import torch
from noise_modules import WITHOUT_HINTS, Planted, SmallNetwork, loader, pictures, quiet_trainer

from fullscale.callbacks.gradient_noise import GradientNoiseScale
from models_of_scaling.errors import InputError

pytestmark = WITHOUT_HINTS
STEPS, SIZE = 16, 5


def examples(steps, *, microbatches=4):
    count = steps * microbatches * SIZE
    return torch.randn(count, 10, generator=torch.Generator().manual_seed(1)) + 1


def measured(data, *, epochs=1, module=None, loaded=None, accumulation=4, **choice):
    noise = GradientNoiseScale(**{"window_steps": STEPS, "blocks": 8, **choice})
    if loaded is not None:
        noise.load_state_dict(loaded.state_dict())
    quiet_trainer(accumulate_grad_batches=accumulation, callbacks=[noise], max_epochs=epochs).fit(
        module or Planted(), loader(*data, batch_size=SIZE)
    )
    return noise


def codes(noise):
    return {problem.code for problem in noise.noise_scale().problems}


def test_a_step_that_was_skipped_is_held_against_the_estimate_until_it_leaves_the_window():
    data = examples(STEPS + 1)
    data[8 * 4 * SIZE] = float("inf")
    first = measured([data])
    assert codes(first) == {"skipped_steps"}
    assert codes(measured([examples(4)], loaded=first)) == {"skipped_steps"}
    assert measured([examples(STEPS)], loaded=first).noise_scale().valid


def test_a_short_last_step_of_each_epoch_is_left_out_and_held_against_nothing():
    """Nine microbatches an epoch: two steps of four, and one that has nothing to compare with."""
    data = examples(2)
    noise = measured([torch.cat([data, data[:SIZE]])], epochs=20, window_steps=24)
    assert noise.noise_scale().valid
    assert noise.noise_scale().steps == 24


def test_where_most_steps_have_one_microbatch_that_is_said():
    noise = measured([examples(1, microbatches=1)], epochs=20)
    assert "16 of the last 16 measured steps had one microbatch" in noise.noise_scale().reason


def test_a_lone_batch_names_the_examples_that_batch_norm_saw_in_the_smaller_forward():
    noise = GradientNoiseScale(window_steps=STEPS, blocks=8, probe_every_n_steps=1)
    quiet_trainer(callbacks=[noise]).fit(
        SmallNetwork(batch_norm=True), loader(*pictures(24 * STEPS), batch_size=24)
    )
    assert "this is the noise of gradients of 3 examples" in noise.noise_scale().reason


def test_a_state_of_another_window_is_refused_and_of_another_preconditioner_begins_anew():
    first = measured([examples(STEPS)], preconditioner="none")
    with pytest.raises(InputError, match="blocks of 2 steps does not fit blocks of 4: go on with"):
        measured([examples(2)], loaded=first, window_steps=2 * STEPS)
    adam = measured(
        [examples(STEPS)], module=Planted(optimizer=torch.optim.Adam), preconditioner="adam"
    )
    assert adam.preconditioned_noise_scale().steps > 0
    plain = measured([examples(2)], loaded=adam, preconditioner="none")
    again = measured(
        [examples(2)],
        module=Planted(optimizer=torch.optim.Adam),
        loaded=plain,
        preconditioner="adam",
    )
    assert again.preconditioned_noise_scale().steps == 0
    assert again.noise_scale().steps == STEPS


BATCH_NORM = (
    *("--data.global_batch_size=64", "--model.name=resnet8", "--model.train_duration=16 steps"),
    *("--model.learning_rate=1e-9", "--data.evaluate_every=16 steps"),
    "--trainer.callbacks+=fullscale.callbacks.gradient_noise.GradientNoiseScale",
    *("--trainer.callbacks.window_steps=16", "--trainer.callbacks.blocks=16"),
)


@pytest.mark.slow
def test_under_batch_norm_with_a_stated_span_the_noise_scale_is_one_number_on_any_cut(
    fit, tmp_path
):
    """At rate 0, almost, so the same gradients: in forwards of one group of 8, and of two."""
    found = {}
    for span, forward in (("8", 8), ("8", 16), ("null", 8), ("null", 16)):
        code, trial, err = fit(
            *BATCH_NORM,
            f"--model.batch_norm_span={span}",
            f"--data.max_per_device_batch_size={forward}",
        )
        assert code == 0, err
        for file in (tmp_path / "trials").iterdir():
            file.unlink()
        found[span, forward] = trial.measurements
    name = "gradient_noise_scale"
    estimates = {key: each[name] for key, each in found.items()}
    assert [each[f"{name}_valid"] for each in found.values()] == [1, 1, 0, 0]
    assert estimates["null", 8] == pytest.approx(estimates["8", 8], rel=1e-4)
    # Measured: 103.5 and 103.4; without a span 103.5 and 94.6.
    assert estimates["8", 16] == pytest.approx(estimates["8", 8], rel=0.02)
    assert estimates["null", 16] < 0.95 * estimates["null", 8]
