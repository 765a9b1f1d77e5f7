import pytest

from fullscale.models import CONVOLUTION_WIDTHS, build_network, count_parameters


def count(name, image_shape=(1, 28, 28)):
    return count_parameters(build_network(name, image_shape=image_shape, num_classes=10, seed=0))


def test_the_simple_cnn_has_the_layers_of_its_source():
    convolutions = (25 + 1) * 32 + (25 * 32 + 1) * 64
    assert count("simple_cnn") == convolutions + (49 * 64 + 1) * 1024 + (1024 + 1) * 10


@pytest.mark.parametrize(("name", "own"), [("small_cnn", 8), ("simple_cnn", 32), ("resnet8", 16)])
def test_a_networks_own_width_is_one_of_the_ladders_and_wider_ones_have_more(name, own):
    assert count(f"{name}_width{own}") == count(name)
    sizes = [count(f"{name}_width{width}") for width in CONVOLUTION_WIDTHS]
    assert sizes == sorted(set(sizes))
