"""Muon: momentum, made orthogonal.

Source: Jordan, Jin, Boza, You, Cesista, Newhouse & Bernstein 2024, "Muon: An optimizer for hidden
layers in neural networks" (kellerjordan.github.io/posts/muon), Algorithm 2 and the program there.
For a weight of several axes, as a matrix of one row per output:

    v <- m v + g;    o = NewtonSchulz(g + m v)
    w <- w - lr (sqrt(max(1, rows / columns)) o + wd w)

NewtonSchulz takes x = z / (|z| + 1e-7), then five times x <- a x + (b A + c A^2) x with A = x x^T
and (a, b, c) = (3.4445, -4.7750, 2.0315), on the wide side of the matrix.

Other tensors, and those without the trait `adapted` (the head, where asked for), go by AdamW at
adam_rate_factor times the learning rate, as the source advises.

Differs from the source: the iteration runs in the tensor's type, at least single precision, not in
bfloat16; one learning rate serves both parts (0.015 = 0.0003 / 0.02, of the program's defaults).
"""

from torch import Tensor
from torch.linalg import vector_norm

from fullscale.optimizers.adam import adam_direction, init_state
from fullscale.optimizers.update_rule import Numbers, State, TensorTraits, UpdateRule, decay_of

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SMALLEST_NORM = 1e-7


def _orthogonal(matrix: Tensor) -> Tensor:
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (vector_norm(x) + _SMALLEST_NORM)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.mT if tall else x


def _update(
    parameter: Tensor, gradient: Tensor, state: State, numbers: Numbers, traits: TensorTraits
) -> tuple[Tensor, State]:
    rate, decay = numbers["learning_rate"], decay_of(numbers, traits) * parameter
    if parameter.ndim < 2 or not traits.adapted:
        direction, state = adam_direction(gradient, state, numbers)
        return parameter - numbers["adam_rate_factor"] * rate * (direction + decay), state
    velocity = numbers["momentum"] * state["first_moment"] + gradient
    rows = (gradient + numbers["momentum"] * velocity).reshape(parameter.shape[0], -1)
    scale = max(1.0, rows.shape[0] / rows.shape[1]) ** 0.5
    direction = scale * _orthogonal(rows).reshape(parameter.shape)
    return parameter - rate * (direction + decay), {**state, "first_moment": velocity}


MUON = UpdateRule(
    name="muon",
    defaults={
        "momentum": 0.95,
        "weight_decay": 0.0,
        "adam_rate_factor": 0.015,
        "beta1": 0.9,
        "beta2": 0.95,
        "epsilon": 1e-10,
    },
    init_state=init_state,
    update=_update,
    needs_whole_tensor=True,
)
