"""Batch norm over a stated span, in one process; over several see test_strategies.py."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fullscale.batch_layout import BatchLayout
from fullscale.batch_norm import (
    BatchNormSpan,
    SpanBatchNorm2d,
    has_batch_norm,
    ignored_by_ddp,
    span_batch_norm,
)
from fullscale.models import build_network
from models_of_scaling.errors import InputError


def layout(batch=12, span=None, limit=100):
    return BatchLayout(
        global_batch_size=batch,
        world_size=1,
        max_per_device_batch_size=limit,
        batch_norm_span=span,
    )


def converted(network, cut, *, moving_averages=True):
    network = copy.deepcopy(network)
    span = BatchNormSpan(cut, rank=0)
    span_batch_norm(network, span=span, moving_averages=moving_averages)
    return network, span


def resnet():
    return build_network("resnet8", image_shape=(1, 8, 8), num_classes=10, seed=1).double()


def pictures(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, dtype=torch.float64, generator=generator)
    return images, torch.randint(10, (count,), generator=generator)


def step(network, images, labels, *, parts=1):
    """Gradients of the mean loss; forwards of equal size."""
    for these, those in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        (cross_entropy(network(these), those) / parts).backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def test_without_a_span_one_forward_is_torchs_batch_norm_statistics_and_all():
    images, labels = pictures(12)
    torchs = resnet()
    ours, span = converted(torchs, layout())
    span.begin_forward(0)
    want, got = step(torchs, images, labels), step(ours, images, labels)
    span.finish_step()
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(ours.state_dict(), torchs.state_dict(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(ours.eval()(images), torchs.eval()(images), rtol=1e-12, atol=1e-14)


def test_a_span_makes_each_group_what_torch_makes_of_it_alone():
    images, labels = pictures(12)
    torchs = resnet()
    ours, span = converted(torchs, layout(span=4))
    span.begin_forward(0)
    got = step(ours, images, labels)
    want = step(torchs, images, labels, parts=3)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-14)
    # All twelve at once is another gradient.
    together = step(resnet(), images, labels)
    assert not torch.allclose(got["0.weight"], together["0.weight"], rtol=1e-3)


def test_the_averages_move_once_per_step_by_the_mean_over_its_statistics():
    images, _ = pictures(10)
    norm = nn.Sequential(nn.BatchNorm2d(1)).double()
    ours, span = converted(norm, layout(batch=10, span=4, limit=4))
    # ceil(10 / 4) groups of 4, 3 and 3; one to a forward.
    for forward, places in enumerate((slice(0, 4), slice(4, 7), slice(7, 10))):
        span.begin_forward(forward)
        ours(images[places])
    layer = ours[0]
    torch.testing.assert_close(layer.running_mean, torch.zeros(1).double())
    span.finish_step()
    groups = [images[0:4], images[4:7], images[7:10]]
    mean = sum(len(group) * group.mean() for group in groups) / 10
    variance = sum(len(group) * group.var() for group in groups) / 10
    torch.testing.assert_close(layer.running_mean[0], 0.1 * mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(layer.running_var[0], 0.9 + 0.1 * variance, rtol=1e-12, atol=0)
    assert int(layer.num_batches_tracked) == 1
    assert not layer.pending.any()


def test_without_moving_averages_validation_sees_the_last_step_only():
    ours, span = converted(
        nn.Sequential(nn.BatchNorm2d(1)).double(), layout(), moving_averages=False
    )
    for seed in (1, 2):
        images, _ = pictures(12, seed=seed)
        span.begin_forward(0)
        ours(images)
        span.finish_step()
    torch.testing.assert_close(ours[0].running_mean[0], images.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(ours[0].running_var[0], images.var(), rtol=1e-12, atol=0)


def test_a_filler_enters_no_statistic_and_leaves_finite_gradients():
    # Three examples in two forwards of two ranks: rank 1 has one of them, so a filler comes second.
    cut = BatchLayout(global_batch_size=3, world_size=2, max_per_device_batch_size=1)
    network = resnet()
    span = BatchNormSpan(cut, rank=1)
    span_batch_norm(network, span=span, moving_averages=True)
    span.begin_forward(1)
    assert span.parts == ()
    images, labels = pictures(1)
    (cross_entropy(network(images), labels) * 0.0).backward()
    assert all(float(p.grad.abs().max()) == 0 for p in network.parameters())
    assert not any(layer.pending.any() for layer in span.layers)


def test_a_forward_of_another_size_than_the_layouts_is_an_error():
    ours, span = converted(nn.Sequential(nn.BatchNorm2d(1)).double(), layout(span=4))
    span.begin_forward(0)
    with pytest.raises(RuntimeError, match="split"):
        ours(pictures(11)[0])


def test_resnet_50_keeps_its_names_and_ddp_leaves_its_averages_alone():
    with torch.device("meta"):
        network = build_network("resnet50", image_shape=(3, 32, 32), num_classes=10, seed=0)
    names = set(network.state_dict())
    ours, span = converted(network, layout())
    assert set(ours.state_dict()) == names
    assert len(span.layers) == 53
    assert not any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    assert "layer4.2.bn3.running_var" in ignored_by_ddp(ours)
    assert len(ignored_by_ddp(ours)) == 4 * 53


def test_what_has_batch_norm_is_known_before_and_after():
    assert has_batch_norm(resnet())
    assert has_batch_norm(converted(resnet(), layout())[0])
    assert not has_batch_norm(nn.Linear(2, 2))
    assert not isinstance(nn.BatchNorm2d(1), SpanBatchNorm2d)


def test_another_kind_of_batch_norm_is_refused():
    span = BatchNormSpan(layout(), rank=0)
    with pytest.raises(InputError, match="BatchNorm1d has no span"):
        span_batch_norm(nn.Sequential(nn.BatchNorm1d(3)), span=span, moving_averages=True)
