"""The simulator's spectrum from a checkpoint: python -m surrogate.measure_spectrum CHECKPOINT ...

What `python -m surrogate.simulate --spectrum FILE` needs of a network, near the weights w of a
checkpoint of `fullscale.fit`, by Lanczos: the curvature along the way that training has come,
w_0 - w, and along the gradient's noise. Risk in the noisy quadratic model is a sum over modes, so
the two need not be known on the same modes: the spectral measure of w_0 - w gives modes with a
start and no noise, that of the noise modes with noise and no start (docs/simulator.md).

Directions of negative curvature are left out, with their share said.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fullscale.batch_norm import has_batch_norm
from fullscale.checkpoints.files import DamagedCheckpointError, read_checkpoint
from fullscale.data.image_source import SourceOptions, open_image_source
from fullscale.diagnostic_loss import spread_indices
from fullscale.models import build_network
from models_of_scaling.atomic_write import whole_file
from models_of_scaling.command_line import OneLineParser, run_command
from models_of_scaling.errors import InputError
from models_of_scaling.output_file import check_out
from models_of_scaling.quantities import Floats


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m surrogate.measure_spectrum",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="file of fullscale.fit; a network without batch norm")
    add("--out", type=Path, required=True, metavar="SPECTRUM.CSV", help="for simulate --spectrum")
    add("--root", type=Path, metavar="DIR", help="folder of the data, where they are not digits")
    add(
        "--examples",
        type=int,
        default=1024,
        metavar="N",
        help="training examples used (default: 1024)",
    )
    add(
        "--lanczos-steps",
        type=int,
        default=60,
        metavar="N",
        help="more resolve more eigenvalues (default: 60)",
    )
    add(
        "--probes",
        type=int,
        default=4,
        metavar="N",
        help="random directions of the noise (default: 4)",
    )
    return parser


def _run(argv: Sequence[str] | None) -> None:
    arguments = _parser().parse_args(argv)
    check_out(arguments.out)
    for name in ("examples", "lanczos_steps", "probes"):
        if getattr(arguments, name) < 2:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(arguments, name)} must be at least 2")
    try:
        found = read_checkpoint(arguments.checkpoint)
    except DamagedCheckpointError as error:
        raise InputError(f"checkpoint {arguments.checkpoint} {error}") from error
    identity = found.header.identity
    source = open_image_source(
        identity["data"], root=arguments.root, image_size=0, seed=0, options=SourceOptions()
    )
    rows = spread_indices(arguments.examples, of=source.num_train_examples)
    images, labels = source.train_batch(np.array(rows, dtype=np.int64), rows)
    if source.normalization is not None:
        images = source.normalization.apply(images, dtype=torch.float32)
    build = partial(
        build_network,
        identity["model"],
        image_shape=source.image_shape,
        num_classes=source.num_classes,
        seed=identity["seed"],
    )
    network, start = build().double(), build().double()
    if has_batch_norm(network):
        raise InputError(
            f"checkpoint {arguments.checkpoint}: its network {identity['model']} has batch norm, "
            "whose loss is no sum over examples; mlp and the plain convolutional networks have none"
        )
    network.load_state_dict({
        name.removeprefix("network."): value for name, value in found.state["model"].items()
    })
    modes = measured_modes(
        network,
        start,
        (images.double(), labels),
        num_steps=arguments.lanczos_steps,
        num_probes=arguments.probes,
    )
    kept = modes[modes[:, 0] > 0]
    lost = 1 - kept.sum(axis=0)[1:] / np.maximum(modes.sum(axis=0)[1:], 1e-300)
    text = "curvature,noise,initial\n" + "".join(
        f"{h!r},{c!r},{e!r}\n" for h, c, e in kept.tolist()
    )
    with whole_file(arguments.out) as stream:
        stream.write(text.encode())
    risk = 0.5 * float(kept[:, 0] @ kept[:, 2])
    print(
        f"{len(kept)} modes; risk at the start {risk:.4g}; in directions of negative curvature: "
        f"{100 * lost[0]:.2g} % of the noise, {100 * lost[1]:.2g} % of the way. "
        f"Written: {arguments.out}"
    )


def measured_modes(
    network: nn.Module,
    start: nn.Module,
    examples: tuple[Tensor, Tensor],
    *,
    num_steps: int,
    num_probes: int,
) -> Floats:
    """Return modes of the quadratic around a network's weights.

    Args:
        network: at the weights, without batch norm.
        start: the same network where training started.
        examples: images and labels.
        num_steps: of Lanczos, from each vector.
        num_probes: random combinations of the examples' gradients, each with the covariance of one
            example's gradient.

    Returns:
        Rows of curvature, variance of the gradient's noise at batch size 1, and square of the way
        from the minimum; curvatures may be negative. Shape (modes, 3).
    """
    from fullscale.hessian import HessianOfLoss
    from fullscale.spectral import spectral_measure

    images, labels = examples
    parameters = list(network.parameters())
    hessian = HessianOfLoss(
        parameters, [(lambda: cross_entropy(network(images), labels), 1.0)], over_processes=False
    )
    way = nn.utils.parameters_to_vector(start.parameters()) - nn.utils.parameters_to_vector(
        parameters
    )
    nodes, weights = spectral_measure(hessian, way.detach(), num_steps=num_steps)
    rows = [np.stack([nodes, np.zeros_like(nodes), weights], axis=1)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_probes):
        signs = torch.randint(2, (len(labels),), generator=generator).to(images.dtype) * 2 - 1
        signs -= signs.mean()  # about the mean gradient
        losses = cross_entropy(network(images), labels, reduction="none")
        combined = (signs * losses).sum() / len(labels) ** 0.5
        noise = nn.utils.parameters_to_vector(torch.autograd.grad(combined, parameters))
        nodes, weights = spectral_measure(hessian, noise, num_steps=num_steps)
        rows.append(np.stack([nodes, weights / num_probes, np.zeros_like(nodes)], axis=1))
    return np.concatenate(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see `--help`."""
    return run_command(lambda: _run(argv))


if __name__ == "__main__":
    sys.exit(main())
