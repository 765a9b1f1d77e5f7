"""Where a library's optimizer of the same name is the same formula, and by how much it is not.

The table of docs/optimizers.md has these figures. Libraries that are not installed are passed over.
"""

import importlib
import warnings

import pytest
import torch
from torch.nn import Parameter

from fullscale.optimizers.registry import get_update_rule
from fullscale.optimizers.rule_optimizer import RuleOptimizer
from fullscale.optimizers.update_rule import TensorTraits

SHARED = {"lr": 0.05, "weight_decay": 0.01}
CONSTANT = [0.05] * 12
FALLING = [0.05 / (1 + 0.2 * step) for step in range(12)]


def path(make, rates, shape=(6, 4)):
    generator = torch.Generator().manual_seed(0)
    weight = Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    optimizer, seen = make([weight]), []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad = torch.randn(shape, generator=generator, dtype=torch.float64)
        optimizer.step()
        seen.append(weight.detach().clone())
    return torch.stack(seen)


def library_class(name):
    module, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():  # of what else they import
        warnings.simplefilter("ignore")
        return getattr(pytest.importorskip(module), attribute)


def difference(name, numbers, library, given, rates, shape=(6, 4)):
    """The largest difference on the way, relative to how far the weights went."""

    def ours(parameters):
        return RuleOptimizer(
            parameters,
            rule=get_update_rule(name),
            learning_rate=0.05,
            traits=[TensorTraits()],
            weight_decay=0.01,
            **numbers,
        )

    theirs = library_class(library)
    got = path(ours, rates, shape)
    want = path(lambda parameters: theirs(parameters, **SHARED, **given), rates, shape)
    return float((got - want).abs().max() / (got - got[0]).abs().max())


M = {"momentum": 0.9}
SAME = [
    # Rule, numbers, library's class, its arguments, tolerance: 1e-12, or what an epsilon makes.
    ("sgd", {}, "torch.optim.SGD", {}, 1e-12),
    ("momentum", {}, "torch.optim.SGD", M, 1e-12),
    ("nesterov", {}, "torch.optim.SGD", {**M, "nesterov": True}, 1e-12),
    ("adagrad", {}, "torch.optim.Adagrad", {}, 1e-12),
    ("rmsprop", {}, "torch.optim.RMSprop", {"alpha": 0.9}, 1e-12),
    ("rmsprop", M, "torch.optim.RMSprop", {**M, "alpha": 0.9}, 1e-12),
    ("adam", {}, "torch.optim.Adam", {}, 1e-12),
    ("adamw", {}, "torch.optim.AdamW", {}, 1e-12),
    # epsilon 1e-8 stands before the second moment's correction there, after it here.
    (
        "radam",
        {"rectified_above": 5.0},
        "torch.optim.RAdam",
        {"decoupled_weight_decay": True},
        1e-7,
    ),
    ("lamb", {}, "timm.optim.Lamb", {"max_grad_norm": None}, 1e-12),
    ("lion", {}, "timm.optim.Lion", {"betas": (0.9, 0.99)}, 1e-12),
    # timm keeps the layer's squared norm in single precision.
    ("novograd", {}, "timm.optim.NvNovoGrad", {"betas": (0.95, 0.98)}, 1e-6),
    ("novograd", {}, "pytorch_optimizer.NovoGrad", {"betas": (0.95, 0.98)}, 1e-12),
    ("lion", {}, "pytorch_optimizer.Lion", {"betas": (0.9, 0.99)}, 1e-12),
    # epsilon 1e-8 stands elsewhere.
    (
        "adabound_authors",
        {"final_rate_factor": 2.0},
        "pytorch_optimizer.AdaBound",
        {"weight_decouple": False, "final_lr": 0.1},
        1e-8,
    ),
    (
        "shampoo",
        {},
        "pytorch_optimizer.Shampoo",
        {"preconditioning_compute_steps": 1, "matrix_eps": 1e-4, "weight_decouple": False},
        1e-12,
    ),
]
DIFFERENT = [
    # Rule, numbers, library's class, its arguments, difference at a falling rate as measured.
    ("lars", {}, "timm.optim.Lars", M, 0.34),
    ("lars", {}, "pytorch_optimizer.LARS", M, 0.34),
    ("lamb", {}, "timm.optim.Lamb", {}, 0.14),
    ("lamb", {}, "pytorch_optimizer.Lamb", {}, 3.8),
    ("radam", {}, "torch.optim.RAdam", {"decoupled_weight_decay": True}, 0.20),
    ("radam", {}, "pytorch_optimizer.RAdam", {}, 1.4),
    (
        "adabound",
        {},
        "pytorch_optimizer.AdaBound",
        {"weight_decouple": False, "final_lr": 0.1},
        0.83,
    ),
    ("yogi", {}, "pytorch_optimizer.Yogi", {"weight_decouple": False}, 0.91),
    ("soap", {}, "pytorch_optimizer.SOAP", {}, 0.11),
    ("muon", {}, "torch.optim.Muon", {}, 0.013),
    ("muon", {}, "timm.optim.Muon", {}, 0.61),
]


def case_name(case):
    return f"{case[0]}-{case[2]}"


@pytest.mark.parametrize("rates", [CONSTANT, FALLING], ids=["constant", "falling"])
@pytest.mark.parametrize("case", SAME, ids=case_name)
def test_a_rule_is_the_librarys_where_both_mean_the_same_formula(case, rates):
    *what, tolerance = case
    assert difference(*what, rates) < tolerance


@pytest.mark.parametrize("case", DIFFERENT, ids=case_name)
def test_a_librarys_formula_differs_by_what_the_docs_say(case):
    *what, measured = case
    # The docs' two digits.
    assert difference(*what, FALLING) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("renew_every", "tolerance"), [(20, 1e-12), (10, 1e-5)])
def test_soap_is_the_librarys_where_the_first_gradient_leaves_no_direction_empty(
    renew_every, tolerance
):
    # The QR that renews the bases, within 12 steps or not, is in single precision there.
    given = {"precondition_frequency": renew_every}
    found = difference(
        *("soap", {"renew_every": float(renew_every)}, "pytorch_optimizer.SOAP", given),
        *(FALLING, (4, 4)),
    )
    assert found < tolerance


@pytest.mark.parametrize("library", ["timm.optim.Lars", "pytorch_optimizer.LARS"])
def test_at_a_constant_rate_lars_is_the_libraries_up_to_their_epsilon(library):
    # 1e-8 beside the norms in timm, in front of steps of a thousandth.
    assert difference("lars", {}, library, M, CONSTANT) < 1e-8


def test_pytorch_optimizers_lookahead_synchronises_as_the_paper_and_timms_does_not():
    sgd = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    found = {}
    for module, more in (("pytorch_optimizer", {"pullback_momentum": "none"}), ("timm.optim", {})):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(module)
            lookahead = importlib.import_module(module).Lookahead

        def theirs(parameters, lookahead=lookahead, more=more):
            return lookahead(torch.optim.SGD(parameters, **sgd), k=5, alpha=0.5, **more)

        def ours(parameters):
            return RuleOptimizer(
                parameters,
                rule=get_update_rule("lookahead:momentum"),
                learning_rate=0.05,
                traits=[TensorTraits()],
                weight_decay=0.01,
            )

        found[module] = float((path(theirs, FALLING) - path(ours, FALLING)).abs().max())
    assert found["pytorch_optimizer"] < 1e-12
    assert found["timm.optim"] > 0.01
