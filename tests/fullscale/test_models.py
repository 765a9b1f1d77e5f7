import pytest
import torch

from fullscale.models import NETWORKS, build_network, count_parameters
from models_of_scaling.errors import InputError


@pytest.mark.parametrize("name", ["mlp", "mlp_wide", "small_cnn"])
def test_a_network_maps_images_to_one_score_per_class(name):
    network = build_network(name, image_shape=(1, 8, 8), num_classes=10, seed=0)
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_generator_alone():
    state = torch.random.get_rng_state()
    first, second, third = (
        build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(next(first.parameters()), next(third.parameters()))


def test_parameters_are_counted_as_printed_in_the_literature():
    mlp = build_network("mlp", image_shape=(1, 8, 8), num_classes=10, seed=0)
    assert count_parameters(mlp) == 64 * 32 + 32 + 32 * 10 + 10
    resnet = build_network("resnet50", image_shape=(3, 224, 224), num_classes=1000, seed=0)
    assert count_parameters(resnet) == 25_557_032  # torchvision's model page


def test_an_unknown_network_or_grey_images_for_resnet_are_refused():
    with pytest.raises(InputError, match="model 'vgg' is not one of " + ", ".join(NETWORKS)):
        build_network("vgg", image_shape=(1, 8, 8), num_classes=10, seed=0)
    with pytest.raises(InputError, match="wants 3 channels, the data have 1"):
        build_network("resnet50", image_shape=(1, 8, 8), num_classes=10, seed=0)
