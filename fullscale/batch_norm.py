"""Batch norm whose statistics span a stated number of examples, whatever the hardware.

Ioffe & Szegedy 2015, arXiv:1502.03167, normalise by the mean and variance of "the batch"; what that
is follows in most trainers from the number of devices. Here `BatchLayout` cuts each optimizer step
into groups that share a statistic, by place in the step alone. A group smaller than a forward is
normalised by itself (ghost batch norm: Hoffer et al. 2017, arXiv:1705.08741, section 4); a larger
one over a team of ranks, whose means and variances are merged (Chan, Golub & LeVeque 1983, eq. 2.1)
and whose gradients pass through the merge.

Moving averages: one update per optimizer step, by the mean over the step's statistics, each
weighted by its examples; agreed over all ranks by one collective. So one process, two processes and
accumulation have the same averages. Differs from torch, which updates once per forward and keeps
rank 0's. Without moving averages (Akiba, Suzuki & Fukuda 2017, arXiv:1711.04325, section 2) the
statistics for validation are those of the last step alone: the same with momentum 1.

A filler of weight 0 enters no statistic: where a rank has nothing else in a forward, it is
normalised by the moving averages. torch only; nothing here knows Lightning.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import batch_norm

from fullscale.batch_layout import BatchLayout
from models_of_scaling.errors import InputError

Group = Any  # torch.distributed.ProcessGroup; absent where torch was built without it


class _NormalizeOverTeam(torch.autograd.Function):
    """Normalise by the statistics of a group that is spread over a team of ranks.

    With x^ = (x - mean) / sqrt(var + eps) and n examples and pixels in the group, the gradient is
    dx = w / sqrt(var + eps) (dy - sum(dy) / n - x^ sum(dy x^) / n), both sums over the team.
    """

    @staticmethod
    def forward(  # noqa: PLR0913 - torch hands the arguments over by place
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        parts: tuple[int, ...],
        team: Group,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output and the group's mean and unbiased variance."""
        wide = images.to(torch.promote_types(images.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        ours = torch.stack([mean, variance])
        gathered = [torch.empty_like(ours) for _ in parts]
        distributed.all_gather(gathered, ours, group=team)
        means_RC, variances_RC = torch.stack(gathered, dim=1)
        shares_R = torch.tensor(parts, dtype=ours.dtype, device=ours.device)[:, None] / sum(parts)
        mean = (shares_R * means_RC).sum(dim=0)
        variance = (shares_R * (variances_RC + (means_RC - mean).square())).sum(dim=0)
        scale = torch.rsqrt(variance + eps)
        pixels = images.shape[2] * images.shape[3]
        count = sum(parts) * pixels
        ctx.save_for_backward(images, weight, mean, scale)
        ctx.team, ctx.count = team, count
        normal = (wide - _channels(mean)) * _channels(scale)
        out = (normal * _channels(weight) + _channels(bias)).to(images.dtype)
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance * (count / (count - 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of images, weight and bias."""
        images, weight, mean, scale = ctx.saved_tensors
        wide = gradients[0].to(scale.dtype)
        normal = (images.to(scale.dtype) - _channels(mean)) * _channels(scale)
        sums = torch.stack([wide.sum(dim=(0, 2, 3)), (wide * normal).sum(dim=(0, 2, 3))])
        for_bias, for_weight = sums.clone()
        distributed.all_reduce(sums, group=ctx.team)
        mean_of, slope = sums / ctx.count
        inner = wide - _channels(mean_of) - normal * _channels(slope)
        for_images = (inner * _channels(scale * weight)).to(images.dtype)
        return for_images, for_weight.to(weight.dtype), for_bias.to(weight.dtype), None, None, None


def _channels(values: Tensor) -> Tensor:
    """Shape one value per channel for broadcasting over images."""
    return values[:, None, None]


class BatchNormSpan:
    """What all batch-norm layers of a network share: which examples belong to which statistic."""

    def __init__(self, layout: BatchLayout, *, rank: int, copies: int = 1) -> None:
        """Describe the spans; with teams of ranks, make their process groups: all ranks must call.

        Args:
            layout: how each step is cut.
            rank: of this process among those with examples of their own.
            copies: processes that see the same examples (tensor parallelism), consecutive ranks.
        """
        self._rank = rank
        self._copies = copies
        self.parts: tuple[tuple[int, ...], ...] = ()
        self.layers: list[SpanBatchNorm2d] = []
        self._teams: dict[int, Group] = {1: None}  # by their size
        self.enter_layout(layout)

    def enter_layout(self, layout: BatchLayout) -> None:
        """Go over to another batch, whose teams may have another size: all ranks must call.

        Args:
            layout: how each step is cut from now on.
        """
        self._layout = layout
        size, copies = layout.ranks_per_group, self._copies
        if size not in self._teams:
            teams = [
                [rank * copies + copy for rank in range(first, first + size)]
                for first in range(0, layout.world_size, size)
                for copy in range(copies)
            ]
            self._teams[size], _ = distributed.new_subgroups_by_enumeration(teams)  # type: ignore[no-untyped-call]
        self.team = self._teams[size]

    @property
    def place_in_team(self) -> int:
        """Which part of a shared group is this rank's."""
        return self._rank % self._layout.ranks_per_group

    def begin_forward(self, forward: int) -> None:
        """Say which of a step's forwards comes next.

        Args:
            forward: 0 ... accumulate_grad_batches - 1.
        """
        self.parts = self._layout.statistics(rank=self._rank, forward=forward)

    def share_of_step(self, examples: int) -> float:
        """Return examples over the global batch size."""
        return examples / self._layout.global_batch_size

    @torch.no_grad()
    def finish_step(self, *, momentum: float | None = None) -> None:
        """Update the moving averages by the step's statistics: one collective.

        Args:
            momentum: share of this step in them; each layer's own when not given.
        """
        pending = torch.cat([layer.pending.flatten() for layer in self.layers])
        if self._layout.world_size > 1:
            distributed.all_reduce(pending)
            pending /= self._copies
        sizes = [layer.pending.numel() for layer in self.layers]
        for layer, values in zip(self.layers, torch.split(pending, sizes), strict=True):
            layer.update(values.view_as(layer.pending), momentum=momentum)


class SpanBatchNorm2d(nn.Module):
    """A batch-norm layer over (examples, channels, height, width); its state is BatchNorm2d's."""

    def __init__(self, norm: nn.BatchNorm2d, *, span: BatchNormSpan, moving_averages: bool) -> None:
        """Take over a layer's parameters and moving averages.

        Args:
            norm: affine and with moving averages, as torch makes it.
            span: shared by the network's layers; this one is added to it.
            moving_averages: keep them over steps; else those of the last step only.
        """
        super().__init__()
        assert norm.affine
        assert norm.running_mean is not None
        assert norm.momentum is not None
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.momentum = norm.momentum if moving_averages else 1.0
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        # The step's statistics so far, weighted by their share of the step; this rank's.
        self.pending: Tensor
        self.register_buffer(
            "pending", norm.running_mean.new_zeros(2, norm.num_features), persistent=False
        )
        self._span = span
        span.layers.append(self)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise each group by its own statistics; in evaluation by the moving averages.

        Args:
            images: shape (examples, channels, height, width), the examples in the layout's order.

        Returns:
            The same shape.
        """
        span = self._span
        if not (self.training and span.parts):
            return batch_norm(
                images, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        ours = [parts[span.place_in_team] for parts in span.parts]
        pieces = [images] if len(ours) == 1 else torch.split(images, ours)
        out = [self._normalize(*pair) for pair in zip(pieces, span.parts, strict=True)]
        return out[0] if len(out) == 1 else torch.cat(out)

    def _normalize(self, images: Tensor, parts: tuple[int, ...]) -> Tensor:
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        if len(parts) == 1:
            # With momentum 1 torch writes the batch's own statistics into its moving averages.
            out = batch_norm(
                images, mean, variance, self.weight, self.bias, True, momentum=1.0, eps=self.eps
            )
        else:
            out, mean, variance = _NormalizeOverTeam.apply(  # type: ignore[no-untyped-call]
                images, self.weight, self.bias, self.eps, parts, self._span.team
            )
        statistics = torch.stack([mean, variance]).detach().to(self.pending.dtype)
        self.pending.add_(statistics, alpha=self._span.share_of_step(len(images)))
        return out

    def averages(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the buffers that a run keeps: mean, variance, updates."""
        return self.running_mean, self.running_var, self.num_batches_tracked

    def update(self, statistics: Tensor, *, momentum: float | None = None) -> None:
        """Move the averages and forget the step.

        Args:
            statistics: mean and variance, averaged over the step; shape (2, channels).
            momentum: share of these in the averages; the layer's own when not given.
        """
        share = self.momentum if momentum is None else momentum
        for average, value in zip((self.running_mean, self.running_var), statistics, strict=True):
            average.lerp_(value, share)
        self.num_batches_tracked += 1
        self.pending.zero_()


def batch_norm_layers(network: nn.Module) -> list[nn.Module]:
    """Return a network's batch-norm layers, torch's and ours."""
    kinds = (nn.modules.batchnorm._BatchNorm, SpanBatchNorm2d)  # noqa: SLF001 - torch's only name
    return [module for module in network.modules() if isinstance(module, kinds)]


def has_batch_norm(network: nn.Module) -> bool:
    """Return whether a network has batch-norm layers."""
    return bool(batch_norm_layers(network))


def span_batch_norm(network: nn.Module, *, span: BatchNormSpan, moving_averages: bool) -> None:
    """Replace a network's batch-norm layers, in place; names in its state stay.

    Args:
        network: with torch's layers.
        span: shared by all of them.
        moving_averages: keep them over steps.

    Raises:
        InputError: where a layer is of another kind than BatchNorm2d.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                layer = SpanBatchNorm2d(child, span=span, moving_averages=moving_averages)
                layer.train(child.training)
                setattr(module, name, layer)
            elif isinstance(child, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                raise InputError(
                    f"--model.batch_norm_span: {type(child).__name__} has no span; networks have "
                    "BatchNorm2d only"
                )


def ignored_by_ddp(module: nn.Module) -> list[str]:
    """Return the names of the buffers that DDP must not copy from rank 0.

    The averages are the same on all ranks already, and what is pending is each rank's own.

    Args:
        module: the one that DDP wraps.
    """
    return [
        f"{name}.{buffer}"
        for name, child in module.named_modules()
        if isinstance(child, SpanBatchNorm2d)
        for buffer, _ in child.named_buffers(recurse=False)
    ]
