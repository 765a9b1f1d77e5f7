"""Rules that ask a step's batch: K-FAC's factors and steps, SAM's second gradient, their edges."""

import copy
import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from fullscale.optimizers.layers import LayerWatch, layers_of
from fullscale.optimizers.parameter_groups import ParameterGroups
from fullscale.optimizers.reference.curvature import (
    adascale_reference,
    factors_reference,
    kfac_reference,
    saddle_free_reference,
    sam_reference,
)
from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.saddle_free import KRYLOV_VECTORS
from models_of_scaling.errors import InputError

# pytest's importlib mode has no path to the file beside this one.
sys.path.insert(0, str(Path(__file__).parent))
asking_network = importlib.import_module("asking_network")
sys.path.pop(0)
BATCH, Trainee = asking_network.BATCH, asking_network.Trainee
batches, network_of = asking_network.batches, asking_network.network_of

NAMES = ["kfac", "kfac_empirical", "sam", "sam:lars", "adascale", "saddle_free"]
RATES = [0.3, 0.2, 0.2, 0.1, 0.1, 0.1]


def by_example(network, images, labels):
    """Inputs and, by one backward for each example, gradients of each layer's outputs."""
    inputs, gradients = {}, {}
    for image, label in zip(images, labels, strict=True):
        watch, layers = LayerWatch(), layers_of(network)
        with watch.watching(network, layers):
            loss = functional.cross_entropy(network(image[None]), label[None])
        found = torch.autograd.grad(loss, list(watch.outputs.values()))
        for name, gradient in zip(watch.outputs, found, strict=True):
            inputs.setdefault(name, []).append(watch.inputs[name])
            gradients.setdefault(name, []).append(gradient)
    return (
        {name: torch.cat(rows) for name, rows in inputs.items()},
        {name: torch.cat(rows) for name, rows in gradients.items()},
    )


def patches(module, inputs):
    """A convolution's patches by loops over its places, shape (B, T, I)."""
    if isinstance(module, nn.Linear):
        return inputs.numpy()[:, None]
    padded = np.pad(inputs.numpy(), [(0, 0), (0, 0), *[(p, p) for p in module.padding]])
    (rows, columns), (down, right) = module.kernel_size, module.stride
    return np.stack(
        [
            padded[:, :, y : y + rows, x : x + columns].reshape(len(padded), -1)
            for y in range(0, padded.shape[2] - rows + 1, down)
            for x in range(0, padded.shape[3] - columns + 1, right)
        ],
        axis=1,
    )


def slow_factors(network, images, labels):
    inputs, gradients = by_example(network, images, labels)
    found = {}
    for name, rows in gradients.items():
        module = network.get_submodule(name.removesuffix(".weight"))
        by_place = rows.numpy().reshape(*rows.shape[:2], -1).swapaxes(1, 2)
        found[name] = factors_reference(
            patches(module, inputs[name]), by_place, has_bias=module.bias is not None
        )
    return found


def homogeneous(network, name, value_of):
    """[W b] of a layer as an array."""
    module = network.get_submodule(name.removesuffix(".weight"))
    weight = value_of(module.weight).detach().flatten(1)
    if module.bias is not None:
        weight = torch.cat([weight, value_of(module.bias).detach()[:, None]], dim=1)
    return weight.numpy().copy()


NUMBERS = {
    "momentum": 0.7,
    "weight_decay": 0.02,
    "damping": 0.01,
    "factor_decay": 0.6,
    "kl_clip": 0.02,
    "factors_every": 2.0,
    "inverse_every": 4.0,
}


@pytest.mark.parametrize("clip", [0.0, 0.02, 1e3])
def test_kfac_does_what_its_slow_twin_does_with_factors_by_loops(clip):
    numbers = {**NUMBERS, "kl_clip": clip}
    network = network_of()
    trainee = Trainee("kfac_empirical", network, **numbers)
    names = list(layers_of(network))
    start = [homogeneous(network, name, lambda tensor: tensor) for name in names]
    decays = [np.full_like(weight, numbers["weight_decay"]) for weight in start]
    for decay, name in zip(decays, names, strict=True):
        if network.get_submodule(name.removesuffix(".weight")).bias is not None:
            decay[:, -1] = 0.0  # biases have none, by the usual groups
    steps = []
    for images, labels, rate in zip(*batches(len(RATES)), RATES, strict=True):
        factors = slow_factors(network, images, labels)
        trainee.optimizer.param_groups[0]["lr"] = rate
        trainee.evaluate(images, labels)
        steps.append([
            (homogeneous(network, name, lambda p: p.grad), *factors[name]) for name in names
        ])
        trainee.optimizer.step()
    wanted = kfac_reference(start, steps, learning_rates=RATES, decays=decays, **numbers)
    for name, want in zip(names, wanted, strict=True):
        got = homogeneous(network, name, lambda tensor: tensor)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def flat_loss(network, images, labels):
    sizes = {name: p.shape for name, p in network.named_parameters()}

    def loss(vector):
        parts = vector.split([shape.numel() for shape in sizes.values()])
        values = {n: part.view(sizes[n]) for n, part in zip(sizes, parts, strict=True)}
        return functional.cross_entropy(functional_call(network, values, images), labels)

    return loss


def test_sam_does_what_its_slow_twin_does():
    network = network_of()
    images, labels = batches(len(RATES))
    start = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()

    def gradient_at(step, weight):
        vector = torch.tensor(weight, requires_grad=True)
        loss = flat_loss(network, images[step], labels[step])(vector)
        return torch.autograd.grad(loss, vector)[0].numpy()

    numbers = {"sam_radius": 0.3, "momentum": 0.6, "weight_decay": 0.02}
    want = sam_reference(start, gradient_at, learning_rates=[0.1] * len(RATES), **numbers)
    everything = ParameterGroups(no_decay="", no_trust_ratio="")
    trainee = Trainee("sam:momentum", network, groups=everything, **numbers)
    np.testing.assert_allclose(trainee.train(images, labels).numpy(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [2.0, 4.0, 2000.0])
def test_adascale_does_what_its_slow_twin_does(scale):
    network = network_of()
    trainee = Trainee("adascale", network, adascale_scale=scale, momentum=0.6)
    start = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    found = []
    for images, labels, rate in zip(*batches(len(RATES)), RATES, strict=True):
        vector = torch.cat([p.detach().flatten() for p in network.parameters()])
        losses = [
            flat_loss(network, *part) for part in zip(images.chunk(4), labels.chunk(4), strict=True)
        ]
        found.append(np.stack([torch.func.grad(loss)(vector).numpy() for loss in losses]))
        trainee.optimizer.param_groups[0]["lr"] = rate
        trainee.evaluate(images, labels)
        trainee.optimizer.step()
    numbers = {"adascale_scale": scale, "momentum": 0.6}
    want, tau = adascale_reference(start, found, learning_rates=RATES, **numbers)
    got = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    state = trainee.optimizer.state[next(network.parameters())]
    assert float(state["adascale_time"]) == pytest.approx(tau, rel=1e-12)
    assert 1 < tau / len(RATES) < scale


def test_saddle_free_newton_does_what_its_slow_twin_does_with_whole_hessians():
    network = network_of()
    trainee = Trainee("saddle_free", network, damping=0.05)
    start = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    found, rates = [], RATES[:3]
    for images, labels, rate in zip(*batches(len(rates)), rates, strict=True):
        vector = torch.cat([p.detach().flatten() for p in network.parameters()])
        loss = flat_loss(network, images, labels)
        hessian = torch.func.jacrev(torch.func.grad(loss))(vector).numpy()
        found.append((torch.func.grad(loss)(vector).numpy(), hessian))
        trainee.optimizer.param_groups[0]["lr"] = rate
        trainee.evaluate(images, labels)
        trainee.optimizer.step()
    assert np.linalg.eigvalsh(found[0][1])[0] < -0.01  # there is negative curvature
    want = saddle_free_reference(
        start, found, learning_rates=rates, damping=0.05, vectors=KRYLOV_VECTORS
    )
    got = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_sam_is_the_librarys():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("pytorch_optimizer").SAM
    images, labels = batches(6)
    network = network_of()
    theirs = library(network.parameters(), torch.optim.SGD, rho=0.3, lr=0.1, momentum=0.9)
    for step in range(6):

        def closure(step=step):
            theirs.zero_grad()
            loss = functional.cross_entropy(network(images[step]), labels[step])
            loss.backward()
            return loss

        closure()
        theirs.step(closure)
    want = torch.cat([p.detach().flatten() for p in network.parameters()])
    trainee = Trainee("sam", network_of(), sam_radius=0.3)
    # Theirs sums the gradient's norm in single precision.
    torch.testing.assert_close(trainee.train(images, labels), want, rtol=0, atol=3e-8)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_in_several_forwards_is_the_step_in_one(name):
    images, labels = batches(3)
    one, two = (Trainee(name, network_of(), parts=parts) for parts in (1, 2))
    want, got = one.train(images, labels), two.train(images, labels)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_and_loaded_state_goes_on_bit_for_bit(name):
    images, labels = batches(7)
    numbers = {"inverse_every": 5.0} if name.startswith("kfac") else {}
    want = Trainee(name, network_of(), **numbers).train(images, labels)
    half = Trainee(name, network_of(), **numbers)
    half.train(images[:4], labels[:4])
    after = Trainee(name, copy.deepcopy(half.network), **numbers)
    after.optimizer.load_state_dict(copy.deepcopy(half.optimizer.state_dict()))
    assert torch.equal(after.train(images[4:], labels[4:]), want)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_weights_have_a_state_in_single_precision(name):
    images, labels = batches(4, torch.bfloat16)
    trainee = Trainee(name, network_of(torch.bfloat16))
    before = torch.cat([p.detach().flatten() for p in network_of(torch.bfloat16).parameters()])
    after = trainee.train(images, labels)
    assert after.dtype is torch.bfloat16
    assert bool(after.isfinite().all())
    assert not bool((after == before).all())
    states = [value for state in trainee.optimizer.state.values() for value in state.values()]
    assert {value.dtype for value in states} <= {torch.float32}


class Plane(nn.Module):
    """One weight, one bias, scores (w x + b, 0)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1).double()
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images):
        score = self.layer(images)
        return torch.cat([score, torch.zeros_like(score)], dim=1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_zero_and_one_element_move_against_the_gradient(name, decay):
    trainee = Trainee(name, Plane(), weight_decay=decay)
    images = torch.ones(3, BATCH, 1, dtype=torch.float64)
    got = trainee.train(images, torch.zeros(3, BATCH, dtype=torch.int64))
    assert bool(got.isfinite().all())
    assert bool((got > 0).all())


@pytest.mark.parametrize("name", NAMES)
def test_without_gradient_and_decay_nothing_moves(name):
    network = network_of()
    with torch.no_grad():
        for parameter in network[-1].parameters():
            parameter.zero_()
    images = torch.zeros(3, BATCH, 2, 4, 4, dtype=torch.float64)
    labels = torch.arange(BATCH).remainder(4).expand(3, BATCH)  # as often as they are likely
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    trainee = Trainee(name, network, weight_decay=0.0)
    # The classes' gradients cancel to rounding, which SAM makes a unit vector of.
    atol = 1e-15 if name.startswith("kfac") else 1.0
    after = trainee.train(images, labels)
    assert bool(after.isfinite().all())
    torch.testing.assert_close(after, before, rtol=0, atol=atol)


def test_kfac_leaves_other_layers_and_what_is_not_adapted_to_momentum():
    images, labels = batches(1)
    networks = [network_of(), network_of()]
    for name, network in zip(["kfac", "momentum"], networks, strict=True):
        Trainee(name, network).train(images, labels)
    norms = [network[1].weight.detach() for network in networks]
    torch.testing.assert_close(*norms, rtol=1e-14, atol=0)
    assert not torch.allclose(networks[0][5].weight, networks[1][5].weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sam:kfac", "kfac makes its own gradient already"),
        ("sam:sam:adam", "sam:adam makes its own gradient already"),
        ("kfax", "is not one of sgd, .*kfac, kfac_empirical"),
    ],
)
def test_two_ways_to_make_a_gradient_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        get_update_rule(name)


def test_a_rule_that_asks_needs_a_batch_and_a_forward():
    rule = get_update_rule("kfac")
    with pytest.raises(ValueError, match="needs a batch"):
        RuleOptimizer(network_of().parameters(), rule=rule, learning_rate=0.1)
    trainee = Trainee("kfac", network_of())
    images, labels = (each[0] for each in batches(1))
    trainee.loss(images, labels).backward()
    with pytest.raises(RuntimeError, match="without a forward"):
        trainee.optimizer.step()
