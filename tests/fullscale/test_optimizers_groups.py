"""Who gets weight decay and who a trust ratio: words, patterns, and the line that says so."""

import pytest
import torch

from fullscale.models import NETWORKS, build_network
from fullscale.optimizers.parameter_groups import ParameterGroups, tensor_traits
from models_of_scaling.errors import InputError


def network(name="resnet8"):
    with torch.device("meta"):
        return build_network(name, image_shape=(3, 32, 32), num_classes=10, seed=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_usual_words_fit_the_tensors_of_one_dimension_and_no_others(name):
    built = network(name)
    shapes = {key: tensor_traits(p) for key, p in built.named_parameters()}
    assert ParameterGroups().traits(built) == shapes


def test_the_head_goes_without_a_trust_ratio_where_asked_for_and_keeps_its_decay():
    usual = ParameterGroups().traits(network())
    traits = ParameterGroups(no_trust_ratio="norm,bias,head").traits(network())
    changed = [name for name in traits if traits[name] != usual[name]]
    assert len(changed) == 1
    assert (traits[changed[0]].decayed, traits[changed[0]].adapted) == (True, False)


def test_no_words_leave_nothing_out_and_a_pattern_names_tensors():
    everything = ParameterGroups(no_decay="", no_trust_ratio="*bias").traits(network())
    assert all(traits.decayed for traits in everything.values())
    assert {name for name, t in everything.items() if not t.adapted} == {
        name for name in everything if name.endswith("bias")
    }


def test_the_line_counts_tensors_and_parameters():
    line = ParameterGroups(no_trust_ratio="norm,bias,head").describe(network("resnet50"))
    assert line.startswith(
        "weight decay on 54 tensors of 23.5 M parameters, not on 107: norm, bias"
    )
    assert line.endswith(
        "trust ratio on 53 tensors of 23.5 M parameters, not on 108: norm, bias, head"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [("norms", "no_decay 'norms' is not one of norm, bias, head"), ("x.*", "fits no tensor")],
)
def test_words_that_fit_nothing_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        ParameterGroups(no_decay=words).traits(network())
