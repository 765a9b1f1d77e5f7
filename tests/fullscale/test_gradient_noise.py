"""The gradient noise scale by a callback: exact norms, whatever the trainer does around them."""

import copy

import numpy as np
import pytest
import torch
from fit_callbacks import ScaleLosses
from noise_modules import WITHOUT_HINTS, Planted, SmallNetwork, loader, pictures, quiet_trainer

from fullscale.callbacks.gradient_noise import GradientNoiseScale
from models_of_scaling.errors import InputError
from models_of_scaling.noise_scale import unbiased_moments

pytestmark = WITHOUT_HINTS
STEPS, SIZE = 16, 5


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def examples(count, size=10):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, size, generator=generator) * torch.linspace(0.5, 2, size) + 0.3


def measured(module, batches, *, trainer=None, **choice):
    noise = GradientNoiseScale(window_steps=STEPS, blocks=8, **choice)
    chosen = dict(trainer or {})
    chosen["callbacks"] = [*chosen.get("callbacks", []), noise]
    quiet_trainer(**chosen).fit(module, batches)
    return noise


def step_moments(microbatches, weights=None):
    """Estimates of one step from its microbatches of gradients, shape (b, P) each, by numpy."""
    sizes = np.array([len(each) for each in microbatches], float)
    weights = np.full(len(sizes), 1 / len(sizes)) if weights is None else weights
    means = np.stack([each.mean(axis=0) for each in microbatches])
    return unbiased_moments(
        weights @ np.square(means).sum(axis=1),
        np.square(weights @ means).sum(),
        inverse_small=(weights / sizes).sum(),
        inverse_big=(weights**2 / sizes).sum(),
    )


def expected(data, columns=slice(None), *, accumulation=4, size=SIZE):
    parts = [part.numpy()[:, columns] for part in torch.split(data, size)]
    steps = [parts[i : i + accumulation] for i in range(0, len(parts), accumulation)]
    return np.mean([step_moments(step) for step in steps], axis=0)


def test_a_users_own_module_gets_a_noise_scale_with_an_interval_by_four_lines():
    """Nothing of ours but the callback: the module, the trainer and the data are Lightning's."""
    from fullscale.callbacks.gradient_noise import GradientNoiseScale  # the first line

    data = examples(64 * 32)
    noise = GradientNoiseScale(window_steps=64)  # the second
    trainer = quiet_trainer(accumulate_grad_batches=8, callbacks=[noise])  # the third
    trainer.fit(Planted(), loader(data, batch_size=4))
    found = noise.noise_scale()  # the fourth
    truth = float((torch.linspace(0.5, 2, 10) ** 2).sum() / (10 * 0.3**2))
    assert found.low < truth < found.high < 2 * found.low
    assert found.valid
    assert found.steps == 64


def test_norms_of_accumulated_microbatches_are_exact_also_where_the_last_one_is_smaller():
    data = examples(STEPS * 4 * SIZE - 3)
    noise = measured(
        Planted(), loader(data, batch_size=SIZE), trainer={"accumulate_grad_batches": 4}
    )
    found = noise.noise_scale()
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(data), rtol=1e-12)
    layers = noise.layer_noise_scales()
    assert list(layers) == ["tensors.0", "tensors.1"]
    for name, columns in (("tensors.0", slice(0, 7)), ("tensors.1", slice(7, 10))):
        moments = layers[name].trace, layers[name].sq_norm
        np.testing.assert_allclose(moments, expected(data, columns), rtol=1e-12)


def test_a_last_step_of_fewer_microbatches_counts_as_what_it_is():
    """Lightning divides its loss by 4 all the same: the estimates know that."""
    data = examples((STEPS - 1) * 4 * SIZE + 2 * SIZE)
    noise = measured(
        Planted(), loader(data, batch_size=SIZE), trainer={"accumulate_grad_batches": 4}
    )
    found = noise.noise_scale()
    assert found.steps == STEPS
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(data), rtol=1e-12)


def test_a_loss_that_is_a_sum_gives_the_same_when_the_callback_is_told():
    class Sum(Planted):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * len(batch[0])

    data = examples(STEPS * 4 * SIZE)
    noise = measured(
        Sum(),
        loader(data, batch_size=SIZE),
        trainer={"accumulate_grad_batches": 4},
        loss_factor_of=lambda batch: len(batch[0]),
    )
    found = noise.noise_scale()
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(data), rtol=1e-12)


@pytest.mark.parametrize("what", ["clipping", "scaled losses"])
def test_clipping_and_a_loss_scaler_change_nothing_of_the_estimates(what):
    data = examples(STEPS * 4 * SIZE)
    trainer = {
        "clipping": {"gradient_clip_val": 1e-3},
        "scaled losses": {"callbacks": [ScaleLosses()]},
    }[what]
    module = Planted(lr=0.1)
    start = copy.deepcopy(module.state_dict())
    # Without autocast the scaler's arithmetic is exact: its factors are powers of two.
    noise = measured(
        module.double(),
        loader(data, batch_size=SIZE),
        trainer={"accumulate_grad_batches": 4, **trainer},
    )
    assert any((start[n] != v).any() for n, v in module.state_dict().items())
    found = noise.noise_scale()
    # Half precision of the products under autocast: 2^-8 of each, averaged over many.
    rtol = 1e-12 if what == "clipping" else 2e-2
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(data), rtol=rtol)


def test_a_step_whose_gradient_overflows_is_left_out_and_counted():
    data = examples(STEPS * 4 * SIZE)
    data[SIZE] = float("inf")
    noise = measured(
        Planted(), loader(data, batch_size=SIZE), trainer={"accumulate_grad_batches": 4}
    )
    found = noise.noise_scale()
    assert "1 of the last 16 measured steps had a gradient that was not finite" in found.reason
    assert np.isfinite(found.trace)


def test_a_single_microbatch_is_measured_against_an_eighth_of_its_batch():
    size, data = 40, examples(STEPS * 40)
    noise = measured(Planted(), loader(data, batch_size=size), probe_every_n_steps=1)
    found = noise.noise_scale()
    want = []
    for step, batch in enumerate(torch.split(data, size)):
        part = [(step * 5 + i) % size for i in range(5)]
        small, big = (np.square(x.numpy().mean(axis=0)).sum() for x in (batch[part], batch))
        want.append(unbiased_moments(small, big, inverse_small=1 / 5, inverse_big=1 / size))
    np.testing.assert_allclose((found.trace, found.sq_norm), np.mean(want, axis=0), rtol=1e-12)


def test_the_second_forward_leaves_the_run_bit_for_bit_as_it_was():
    """Weights, batch norm's averages, dropout's random numbers, metrics and what is logged."""
    runs = []
    for callbacks in ([], [GradientNoiseScale(probe_every_n_steps=2)]):
        module = SmallNetwork()
        torch.manual_seed(3)
        quiet_trainer(callbacks=callbacks).fit(module, loader(*pictures(160), batch_size=16))
        runs.append(module)
    for name, value in runs[0].state_dict().items():
        assert torch.equal(value, runs[1].state_dict()[name]), name
    assert runs[0].seen == runs[1].seen
    assert runs[0].accuracy.compute() == runs[1].accuracy.compute()


@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norm_in_training_mode_is_named_with_its_microbatch(batch_norm):
    noise = measured(
        SmallNetwork(batch_norm=batch_norm),
        loader(*pictures(16 * STEPS * 2), batch_size=16),
        trainer={"accumulate_grad_batches": 2},
    )
    codes = {problem.code for problem in noise.noise_scale().problems}
    assert ("batch_norm" in codes) == batch_norm
    if batch_norm:
        assert "couples the examples of a forward" in noise.noise_scale().reason
        assert "gradients of 16 examples" in noise.noise_scale().reason


def test_adams_preconditioned_noise_is_that_of_gradients_over_the_root_of_their_moment():
    data = examples(STEPS * 4 * SIZE)
    module = Planted(optimizer=torch.optim.Adam)
    noise = measured(
        module,
        loader(data, batch_size=SIZE),
        trainer={"accumulate_grad_batches": 4},
        preconditioner="adam",
    )
    found = noise.preconditioned_noise_scale()
    second, want = np.zeros(10), []
    parts = [part.numpy() for part in torch.split(data, SIZE)]
    for step in range(STEPS):
        four = parts[4 * step : 4 * step + 4]
        if step:
            root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            want.append(step_moments([each / root for each in four]))
        second = 0.999 * second + 0.001 * np.mean([p.mean(axis=0) for p in four], axis=0) ** 2
    # The first step has no moment yet: 15 steps, of which seven blocks of two are whole.
    want = np.mean(want[:14], axis=0)
    np.testing.assert_allclose((found.trace, found.sq_norm), want, rtol=1e-10)


def test_a_trust_ratio_weighs_each_tensor_by_the_norms_of_the_step_before():
    class Lars(torch.optim.SGD):
        def __init__(self, parameters, lr):
            super().__init__(parameters, lr=lr)
            for group in self.param_groups:
                group["trust_coefficient"] = 0.5

    data = examples(STEPS * 4 * SIZE)
    module = Planted(sizes=((2, 3), 4), optimizer=Lars)
    torch.nn.init.constant_(module.tensors[0], 2.0)
    noise = measured(
        module,
        loader(data, batch_size=SIZE),
        trainer={"accumulate_grad_batches": 4},
        preconditioner="lars",
    )
    parts = [part.numpy() for part in torch.split(data, SIZE)]
    want, ratio = [], None
    for step in range(STEPS):
        four = parts[4 * step : 4 * step + 4]
        if ratio is not None:
            scale = np.array([ratio] * 6 + [1.0] * 4)
            want.append(step_moments([each * scale for each in four]))
        whole = np.mean([p.mean(axis=0) for p in four], axis=0)
        ratio = 0.5 * 2 * np.sqrt(6) / np.linalg.norm(whole[:6])
    found = noise.preconditioned_noise_scale()
    want = np.mean(want[:14], axis=0)
    np.testing.assert_allclose((found.trace, found.sq_norm), want, rtol=1e-12)


def test_every_second_step_is_measured_where_that_was_asked_for():
    data = examples(2 * STEPS * 4 * SIZE)
    batches = loader(data, batch_size=SIZE)
    noise = measured(Planted(), batches, trainer={"accumulate_grad_batches": 4}, every_n_steps=2)
    odd = torch.cat(list(torch.split(data, 4 * SIZE))[::2])
    found = noise.noise_scale()
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(odd), rtol=1e-12)


def test_its_state_goes_on_in_a_new_run():
    data = examples(2 * STEPS * 4 * SIZE)
    half = STEPS * 4 * SIZE // 2
    first = measured(
        Planted(), loader(data[:half], batch_size=SIZE), trainer={"accumulate_grad_batches": 4}
    )
    second = GradientNoiseScale(window_steps=STEPS, blocks=8)
    second.load_state_dict(first.state_dict())
    quiet_trainer(accumulate_grad_batches=4, callbacks=[second]).fit(
        Planted(), loader(data[half : 2 * half], batch_size=SIZE)
    )
    found = second.noise_scale()
    np.testing.assert_allclose((found.trace, found.sq_norm), expected(data[: 2 * half]), rtol=1e-12)


def test_no_hook_is_left_when_training_ends():
    module = Planted()
    measured(module, loader(examples(40), batch_size=5), trainer={"accumulate_grad_batches": 4})
    assert not any(p._backward_hooks for p in module.parameters())  # noqa: SLF001


def test_a_gradient_that_comes_in_parts_is_named():
    class Twice(Planted):
        def backward(self, loss):
            """As reentrant checkpointing, or a second loss, does."""
            loss.backward(retain_graph=True)
            loss.backward()

    noise = measured(
        Twice(),
        loader(examples(STEPS * 4 * SIZE), batch_size=SIZE),
        trainer={"accumulate_grad_batches": 4},
    )
    assert "came in parts" in noise.noise_scale().reason


def test_what_can_not_be_measured_is_refused_before_the_first_step():
    class Manual(Planted):
        automatic_optimization = False

    batches = loader(examples(40), batch_size=5)
    with pytest.raises(InputError, match="automatic optimization"):
        measured(Manual(), batches)
    with pytest.raises(InputError, match="LBFGS"):
        measured(Planted(optimizer=torch.optim.LBFGS), batches)
    with pytest.raises(InputError, match="no second moment"):
        measured(Planted(momentum=0.9), batches, preconditioner="adam",
                 trainer={"accumulate_grad_batches": 4})  # fmt: skip
    with pytest.raises(InputError, match="no trust_coefficient"):
        measured(Planted(), batches, preconditioner="lars")
    with pytest.raises(InputError, match="preconditioner 'shampoo' is not one of"):
        GradientNoiseScale(preconditioner="shampoo")
    with pytest.raises(InputError, match="every_n_steps 0 must be at least 1"):
        GradientNoiseScale(every_n_steps=0)
    with pytest.raises(InputError, match="preconditioner 'none': give adam or lars"):
        GradientNoiseScale().preconditioned_noise_scale()


def test_a_batch_whose_tensors_differ_in_length_asks_for_its_number_of_examples():
    class Odd(Planted):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["x"], batch_idx)

    data = [{"x": [part], "y": torch.zeros(3)} for part in torch.split(examples(80), 5)]
    batches = torch.utils.data.DataLoader(data, batch_size=None)
    with pytest.raises(InputError, match="lengths 3, 5; say how many examples"):
        measured(Odd(), batches, trainer={"accumulate_grad_batches": 4})
    noise = measured(
        Odd(),
        batches,
        trainer={"accumulate_grad_batches": 4},
        examples_of=lambda batch: len(batch["x"][0]),
    )
    assert noise.noise_scale().steps == 4
