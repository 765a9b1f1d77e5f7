"""Loss, mixup, clipping, start of the scales, regime adaptation: each against plain arithmetic."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch.nn.functional import cross_entropy

from fullscale.batch_layout import BatchLayout
from fullscale.data.digits import digits_arrays
from fullscale.data.image_source import ArraySource
from fullscale.data.micro_batches import TrainMicroBatches
from fullscale.data.mixup import mixed_batch, mixing_shares
from fullscale.data.normalization import Normalization
from fullscale.data.order import stream_indices
from fullscale.gradient_clipping import clip_by_global_norm, global_norm
from fullscale.loss import ClassifierLoss
from fullscale.models import build_network
from fullscale.network_setup import NetworkSettings, last_batch_norms
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.update_rule import TensorTraits
from models_of_scaling.errors import InputError

RNG = np.random.default_rng(3)
SWAP = (
    *("--comm.hook=swap", "--trainer.strategy=ddp", "--trainer.devices=2"),
    *("--comm.start_steps=8", "--data.max_per_device_batch_size=200"),
)
TWO_STEPS = (
    *("--data.global_batch_size=1024", "--model.train_duration=2 steps", "--model.decay_power=0"),
    *("--model.learning_rate=0.5", "--model.target=validation_accuracy>=1"),
)


@pytest.fixture
def final_weights(fit, tmp_path):
    """Run in float64 and return the parameters at the end, and the trial."""

    def run(*flags):
        path = tmp_path / "weights.pt"
        code, trial, err = fit(
            "--trainer.precision=64-true",
            "--trainer.callbacks+=fit_callbacks.DumpWeights",
            f"--trainer.callbacks.path={path}",
            *flags,
        )
        assert code == 0, err
        for file in (tmp_path / "trials").iterdir():
            file.unlink()
        return [weight.numpy() for weight in torch.load(path, weights_only=True)], trial

    return run


def loss_by_numpy(scores, targets, *, smoothing, penalty):
    """Szegedy et al. 2015, section 7, and Pereyra et al. 2017, section 3, in float64."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    smoothed = (1 - smoothing) * targets + smoothing / scores.shape[1]
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1)
    return -(smoothed * np.log(probabilities)).sum(axis=1) - penalty * entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("penalty", [0.0, 0.1, 2.0])
def test_the_loss_of_each_example_is_the_papers(smoothing, penalty):
    scores = 3 * RNG.standard_normal((7, 5))
    labels = np.array([0, 4, 2, 2, 1, 3, 0])
    loss = ClassifierLoss(label_smoothing=smoothing, confidence_penalty=penalty)
    numbers = {"smoothing": smoothing, "penalty": penalty}
    got = loss.per_example(torch.from_numpy(scores), torch.from_numpy(labels))
    np.testing.assert_allclose(got, loss_by_numpy(scores, np.eye(5)[labels], **numbers), rtol=1e-12)
    mixed = RNG.dirichlet(np.ones(5), size=7)
    got = loss.per_example(torch.from_numpy(scores), torch.from_numpy(mixed))
    np.testing.assert_allclose(got, loss_by_numpy(scores, mixed, **numbers), rtol=1e-12)


def test_the_gradient_of_the_confidence_penalty_is_the_papers():
    """Pereyra et al. 2017, section 3: dH/dz_c = p_c (-log p_c - H)."""
    scores = torch.from_numpy(RNG.standard_normal((4, 6))).requires_grad_()
    labels = torch.tensor([1, 5, 0, 2])
    plain = torch.autograd.grad(cross_entropy(scores, labels, reduction="sum"), scores)[0]
    loss = ClassifierLoss(confidence_penalty=0.3).per_example(scores, labels).sum()
    got = torch.autograd.grad(loss, scores)[0]
    p = torch.softmax(scores.detach(), dim=1)
    entropy = -(p * p.log()).sum(dim=1, keepdim=True)
    want = plain - 0.3 * p * (-p.log() - entropy)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


def test_a_class_that_is_ruled_out_has_no_entropy():
    scores = torch.tensor([[0.0, -1e4, -1e4]])
    got = ClassifierLoss(confidence_penalty=1.0).per_example(scores, torch.tensor([0]))
    assert got.item() == 0.0


def mixed(source, positions, *, seed, alpha):
    where = {"start": positions.start, "stop": positions.stop}
    indices = stream_indices(seed=seed, num_examples=1024, **where)
    return mixed_batch(source, indices, positions, seed=seed, alpha=alpha)


def test_a_run_with_all_of_them_takes_the_steps_of_a_plain_loop(final_weights):
    got, trial = final_weights(
        *TWO_STEPS,
        "--model.label_smoothing=0.1",
        "--model.confidence_penalty=0.2",
        "--trainer.gradient_clip_val=0.3",
        "--data.mixup_alpha=0.4",
        "--data.seed=2",
        "--data.max_per_device_batch_size=100",
    )
    source = ArraySource(digits_arrays())
    network = build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=2).double()
    velocity = [torch.zeros_like(p) for p in network.parameters()]
    norms = []
    for step in range(2):
        images, targets = mixed(source, range(1024 * step, 1024 * (step + 1)), seed=2, alpha=0.4)
        scores = network(images.double())
        logs = scores.log_softmax(dim=1)
        smoothed = 0.9 * targets.double() + 0.1 / 10
        loss = (-(smoothed * logs).sum(dim=1) + 0.2 * (logs.exp() * logs).sum(dim=1)).mean()
        grads = torch.autograd.grad(loss, list(network.parameters()))
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in grads)))
        with torch.no_grad():
            for p, v, g in zip(network.parameters(), velocity, grads, strict=True):
                v.mul_(0.9).add_(g * min(1.0, 0.3 / norms[-1]))
                p.sub_(0.5 * v)
    assert min(norms) > 0.3  # so that both steps were clipped
    for weight, parameter in zip(got, network.parameters(), strict=True):
        np.testing.assert_allclose(weight, parameter.detach().numpy(), rtol=1e-11, atol=1e-13)
    assert trial.hyper_parameters["confidence_penalty"] == 0.2
    assert trial.settings["mixup_alpha"] == "0.4"
    assert trial.settings["gradient_clip"] == "0.3"


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixing_shares_are_beta_and_a_function_of_seed_and_position(alpha):
    shares = mixing_shares(seed=7, start=0, stop=4000, alpha=alpha)
    # Kolmogorov's bound at a level of 1e-3; the seed is fixed.
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 1e-3
    for start, stop in ((0, 1), (1, 2), (3, 9), (1022, 1023), (3998, 4000)):
        part = mixing_shares(seed=7, start=start, stop=stop, alpha=alpha)
        np.testing.assert_array_equal(part, shares[start:stop])
    other = mixing_shares(seed=8, start=0, stop=4000, alpha=alpha)
    assert abs(np.corrcoef(shares, other)[0, 1]) < 4 / math.sqrt(4000)


def test_a_mixed_example_is_the_blend_of_its_own_and_of_a_second_streams_example():
    source = ArraySource(digits_arrays())
    positions = range(1000, 1060)  # over an epoch's end, too
    images, targets = mixed(source, positions, seed=4, alpha=0.5)
    shares = mixing_shares(seed=4, start=1000, stop=1060, alpha=0.5)
    rows = stream_indices(seed=4, num_examples=1024, start=1000, stop=1060)
    order = [np.random.default_rng([4, epoch, 2]).permutation(1024) for epoch in (0, 1)]
    partners = np.concatenate([order[0][1000:], order[1][:36]])
    pixels = digits_arrays().train_images.astype(np.float64)
    classes = np.eye(10)[digits_arrays().train_labels]
    weights = shares[:, None]
    # float32: one rounding of the share and of each product and sum.
    np.testing.assert_allclose(
        images.reshape(60, -1),
        weights * pixels[rows].reshape(60, -1) + (1 - weights) * pixels[partners].reshape(60, -1),
        rtol=1e-6,
        atol=1e-6,
    )
    want = weights * classes[rows] + (1 - weights) * classes[partners]
    np.testing.assert_allclose(targets, want, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(targets.sum(dim=1), 1, rtol=1e-6)


def test_a_mixed_step_is_the_same_however_it_is_cut():
    source = ArraySource(digits_arrays())
    alone = BatchLayout(global_batch_size=61, world_size=1, max_per_device_batch_size=64)
    whole, labels, _ = TrainMicroBatches(
        source, layout=alone, rank=0, num_steps=3, seed=1, mixup_alpha=0.3
    )[2]
    spread = BatchLayout(global_batch_size=61, world_size=2, max_per_device_batch_size=9)
    forwards = spread.accumulate_grad_batches
    for rank in range(2):
        for forward in range(forwards):
            sequence = TrainMicroBatches(
                source, layout=spread, rank=rank, num_steps=3, seed=1, mixup_alpha=0.3
            )
            images, part, _ = sequence[2 * forwards + forward]
            places = spread.micro_batch(rank=rank, forward=forward)
            assert torch.equal(images, whole[places.start : places.stop])
            assert torch.equal(part, labels[places.start : places.stop])


def test_blending_pixels_before_normalising_is_blending_after_it():
    normalization = Normalization(mean=(0.4,), std=(0.2,))
    pixels = torch.from_numpy(RNG.integers(0, 256, (2, 1, 3, 3), dtype=np.uint8))
    blend = 0.3 * pixels[:1] + 0.7 * pixels[1:]
    kept = blend.clone()
    got = normalization.apply(blend, dtype=torch.float32)
    assert torch.equal(blend, kept)
    each = normalization.apply(pixels, dtype=torch.float32)
    # Values up to 3, each rounded a few times.
    torch.testing.assert_close(got, 0.3 * each[:1] + 0.7 * each[1:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.1, 1e3])
def test_clipping_is_pascanus_algorithm(threshold):
    gradients = [torch.from_numpy(RNG.standard_normal(shape)) for shape in ((3, 4), (5,), ())]
    flat = np.concatenate([g.numpy().ravel() for g in gradients])
    norm = np.linalg.norm(flat)
    want = flat * threshold / norm if norm >= threshold else flat
    got = clip_by_global_norm(gradients, threshold=threshold)
    np.testing.assert_allclose(got, norm, rtol=1e-12)
    np.testing.assert_allclose(
        np.concatenate([g.numpy().ravel() for g in gradients]), want, rtol=1e-12
    )


def test_clipping_leaves_zero_gradients_and_shows_what_is_no_number():
    zeros = [torch.zeros(3)]
    clip_by_global_norm(zeros, threshold=1.0)
    assert torch.equal(zeros[0], torch.zeros(3))
    broken = [torch.tensor([1.0, math.nan])]
    clip_by_global_norm(broken, threshold=1.0)
    assert broken[0].isnan().all()


def test_the_norm_of_half_precision_gradients_is_summed_in_single_precision():
    many = [torch.full((4096,), 16.0, dtype=torch.float16)]  # its square is beyond float16
    assert global_norm(many).item() == pytest.approx(1024.0, rel=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_initialised_scales_are_torchvisions(name):
    import torchvision

    network = build_network(name, image_shape=(3, 32, 32), num_classes=10, seed=1)
    NetworkSettings(zero_init_last_batch_norm=True).initialise(network)
    torch.manual_seed(1)
    want = getattr(torchvision.models, name)(num_classes=10, zero_init_residual=True)
    for (key, tensor), (other, reference) in zip(
        network.state_dict().items(), want.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(tensor, reference), key


def test_a_block_with_a_zero_scale_begins_as_its_shortcut():
    network = build_network("resnet8", image_shape=(1, 8, 8), num_classes=10, seed=1)
    assert len(last_batch_norms(network)) == 3
    NetworkSettings(zero_init_last_batch_norm=True).initialise(network)
    images = torch.rand(4, 16, 8, 8)  # not negative, as after the ReLU before it
    assert torch.equal(network[3](images), images)


def test_an_adapted_regime_takes_the_small_batchs_steps_at_the_root_of_the_ratio(fit):
    code, trial, err = fit(
        "--data.global_batch_size=256",
        *("--model.train_duration=1 epochs", "--model.warmup=0.5 epochs"),
        *("--model.learning_rate=0.05", "--data.evaluate_every=16 steps"),
        *("--model.adapt_regime_from=64", "--model.target=validation_accuracy>=1"),
    )
    assert code == 0, err
    # As many steps as batch 64 has in an epoch: four times the epochs; rate times 2.
    assert trial.steps == 16
    assert trial.examples == 4 * 1024
    assert trial.hyper_parameters["warmup_steps"] == 8
    assert trial.hyper_parameters["learning_rate"] == pytest.approx(0.1, rel=1e-15)
    assert trial.settings["adapt_regime_from"] == "64"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model.confidence_penalty=-1",), "--model.confidence_penalty -1.0 must be finite and"),
        (("--data.mixup_alpha=-0.1",), "--data.mixup_alpha -0.1 must be finite and not negative"),
        (
            ("--model.zero_init_last_batch_norm=true",),
            "mlp has no residual block with batch norm",
        ),
        (("--model.adapt_regime_from=0",), "--model.adapt_regime_from 0 must be a batch size"),
        (
            ("--model.adapt_regime_from=64", "--model.name=resnet8"),
            "give --model.batch_norm_span, in the source the small batch, 64",
        ),
        (("--comm.hook=swap",), "--comm.hook swap needs --trainer.strategy ddp"),
        ((*SWAP, "--data.global_batch_size=257"), "257 must divide over the 2 processes"),
        ((*SWAP, "--comm.start_steps=80"), "must come before the run's 80 steps are over"),
        ((*SWAP, "--average.start=3 epochs"), "--average.start does not go together with"),
        ((*SWAP, "--data.batch_phases=['1 epochs: 512']"), "together with a batch that grows"),
        (
            (*SWAP, "--model.name=resnet8", "--model.batch_norm_span=256"),
            "--comm.group_size 1 must be a multiple of that",
        ),
        (("--average.start=30 epochs",), "start before the run's 80 are over"),
        (("--trainer.gradient_clip_val=-1",), "--trainer.gradient_clip_val -1 must be positive"),
    ],
)
def test_a_policy_that_can_not_be_is_refused_in_one_line(fit, flags, words):
    code, trial, err = fit("--data.global_batch_size=256", *flags)
    assert (code, trial) == (2, None)
    assert len(err.splitlines()) == 1, err
    assert words in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--comm.hook=swap",), "--comm.hook swap needs --trainer.strategy ddp"),
        ((*SWAP, "--comm.group_size=3"), "--comm.group_size 3 must divide the 2 processes"),
        (
            ("--comm.hook=bf16", "--trainer.accelerator=cpu", "--trainer.devices=2"),
            "--comm.hook bf16 needs GPUs",
        ),
        (("--comm.hook=fp16", "--trainer.strategy=fsdp2"), "needs --trainer.strategy ddp"),
        (("--average.start=30 epochs",), "start before the run's 80 are over"),
        (
            ("--data.grow_by_noise=true", "--data.max_per_device_batch_size=64"),
            "--data.grow_by_noise needs a callback that measures the noise scale",
        ),
    ],
)
def test_a_plan_that_can_not_be_is_refused_before_it_is_booked(fit, flags, words):
    code, trial, err = fit("--data.global_batch_size=256", "--dry_run", *flags)
    assert (code, trial) == (2, None)
    assert len(err.splitlines()) == 1, err
    assert words in err


def test_a_plan_for_devices_that_are_not_here_takes_the_hooks_of_gpus(fit):
    machine = ("--trainer.num_nodes=8", "--trainer.devices=8", "--trainer.accelerator=auto")
    code, trial, err = fit(
        "--data.global_batch_size=256", "--dry_run", "--comm.hook=bf16", *machine
    )
    assert (code, trial, err) == (0, None, "")


def test_a_loss_says_what_is_wrong():
    with pytest.raises(InputError, match="label_smoothing 1"):
        ClassifierLoss(label_smoothing=1)


def test_stochastic_weight_averaging_runs_mapped_over_members_with_their_own_starts():
    rule = get_update_rule("swa:momentum")
    rates, starts = torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([1.0, 2.0, 9.0]).double()
    weights, gradients = torch.from_numpy(RNG.standard_normal((2, 3, 4)))
    periods = torch.tensor([1.0, 2.0, 1.0]).double()

    def member(weight, gradient, rate, start, period):
        numbers = rule.numbers(
            learning_rate=rate, average_start_steps=start, average_period_steps=period
        )
        state = rule.init_state(weight)
        for _ in range(5):
            weight, state = rule.update(weight, gradient, state, numbers, TensorTraits())
        return rule.evaluation_parameter(weight, state)

    numbers = (rates, starts, periods)
    mapped = torch.vmap(member)(weights, gradients, *numbers)
    alone = torch.stack([
        member(*(each[k] for each in (weights, gradients, *numbers))) for k in range(3)
    ])
    torch.testing.assert_close(mapped, alone, rtol=1e-14, atol=0)
    assert not torch.equal(alone[0], alone[1])


def test_policies_are_named_in_a_recipe_as_on_the_command_line(fit, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        """
trainer: {gradient_clip_val: 1.0}
average: {start: 2 epochs, every: 1 epochs, batch_norm_over: 256 examples}
model:
  name: resnet8_width4
  schedule: piecewise
  schedule_numbers: {boundaries: [0.5], factors: [1.0, 0.5]}
  train_duration: 4 epochs
  confidence_penalty: 0.1
  zero_init_last_batch_norm: true
  batch_norm_span: 64
data:
  {global_batch_size: 256, grow_with_decay: true, mixup_alpha: 0.2, evaluate_every: 8 epochs}
"""
    )
    code, trial, err = fit("--config", str(recipe), "--model.target=validation_accuracy>=1")
    assert (code, err) == (0, "")
    assert (trial.optimizer, trial.steps, trial.examples) == ("swa:momentum", 12, 4096)
    assert trial.hyper_parameters["average_start_steps"] == 8
    said = {"batch_phases": "0:256,8:512", "gradient_clip": "1", "mixup_alpha": "0.2"}
    said |= {"zero_init_last_batch_norm": "True", "batch_norm_over": "256 examples"}
    assert said.items() <= trial.settings.items()
