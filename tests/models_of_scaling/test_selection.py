import numpy as np

from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola, PNormKnee, PowerWithFloor
from models_of_scaling.selection import (
    HeldOutScore,
    LawScore,
    choose_law,
    law_evidence,
    law_weights,
)

SIZES = 2 ** np.arange(0, 11)


def score(log_score, *, log_evidence=0.0):
    held_out = None
    if log_score is not None:
        held_out = HeldOutScore(error=0.05, log_score=log_score, num_held_out=6)
    return LawScore(held_out=held_out, log_evidence=log_evidence)


def test_the_law_that_made_the_data_is_chosen(simulated):
    rng = np.random.default_rng(0)
    soft = PowerWithFloor(min_steps=100, critical_batch_size=100, exponent=0.6)
    hyperbola = Hyperbola(min_steps=100, critical_batch_size=100)
    hard = PNormKnee(min_steps=100, critical_batch_size=100, sharpness=3)
    for law in (soft, hyperbola, hard):
        rows = simulated.measurements(*simulated.noisy_rows(law, SIZES, rng))
        assert fit_laws(rows, FitChoice(replicates=50)).law == law.name


def test_the_choice_never_sees_held_out_rows(simulated):
    steps = Hyperbola(min_steps=100, critical_batch_size=64).steps_to_target(SIZES)
    spoiled = np.where(SIZES > 128, 10 * steps, steps)
    fits = [
        fit_laws(simulated.measurements(SIZES, each), FitChoice(replicates=50, holdout_above=128))
        for each in (steps, spoiled)
    ]
    assert fits[0].laws == fits[1].laws
    assert fits[0].held_out != fits[1].held_out


def test_two_laws_that_err_alike_share_the_weight_and_the_simpler_is_named():
    evidence = law_evidence([score(5.0), score(5.0), score(5.0)])
    assert evidence == [1.0, 1.0, 1.0]
    np.testing.assert_allclose(law_weights(evidence), np.full(3, 1 / 3), rtol=1e-12)
    np.testing.assert_allclose(law_weights([1.0, 0.5]), [2 / 3, 1 / 3], rtol=1e-12)
    assert choose_law(evidence, [2, 3, 3]) == 0
    assert choose_law([0.4, 1.0, 0.9], [2, 3, 3]) == 1


def test_evidence_is_the_geometric_mean_of_the_held_out_density_and_the_marginal_likelihood():
    """Half of the held-out batch sizes count as independent: (0.5 x 2 + 3) / 2."""
    evidence = law_evidence([score(3.0, log_evidence=1.0), score(5.0, log_evidence=4.0)])
    np.testing.assert_allclose(evidence, [np.exp(-2.0), 1.0], rtol=1e-12)


def test_a_hard_knee_with_two_batch_sizes_behind_it_is_the_p_norms_whatever_came_before(simulated):
    """Seven batch sizes that scale perfectly, then a floor: the hyperbola can't bend so."""
    law = PNormKnee(min_steps=100, critical_batch_size=128, sharpness=3)
    sizes = 2 ** np.arange(0, 10)
    weights = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = simulated.measurements(*simulated.noisy_rows(law, sizes, rng))
        fit = fit_laws(rows, FitChoice(replicates=50))
        weights.append({each.name: each.weight for each in fit.laws})
    # 0.75 to 0.87; by rolling origin alone 0.42 to 0.54.
    assert min(each["p_norm_knee"] for each in weights) > 0.65


def test_without_held_out_batch_sizes_the_marginal_likelihood_speaks():
    evidence = law_evidence([score(None, log_evidence=10.0), score(None, log_evidence=8.0)])
    np.testing.assert_allclose(evidence, [1.0, np.exp(-2.0)], rtol=1e-12)


def test_a_law_that_claims_too_narrow_an_interval_scores_worse(simulated):
    """Steps with a hard knee: the hyperbola misses the largest batch sizes and is sure of it."""
    law = PNormKnee(min_steps=100, critical_batch_size=100, sharpness=4)
    rows = simulated.measurements(*simulated.noisy_rows(law, SIZES, np.random.default_rng(1)))
    weights = {each.name: each.weight for each in fit_laws(rows, FitChoice(replicates=50)).laws}
    assert weights["p_norm_knee"] > 0.8 and weights["hyperbola"] < 0.1


def test_with_four_batch_sizes_the_weights_are_the_marginal_likelihoods(simulated):
    law = Hyperbola(min_steps=100, critical_batch_size=64)
    rows = simulated.measurements(SIZES[::3], law.steps_to_target(SIZES[::3]))
    fit = fit_laws(rows, FitChoice(replicates=50))
    assert [each.held_out_error for each in fit.laws] == [None, None, None]
    logs = np.array([each.log_evidence for each in fit.laws])
    weights = np.exp(logs - logs.max())
    got = [each.weight for each in fit.laws]
    np.testing.assert_allclose(got, weights / weights.sum(), rtol=1e-9)
    assert fit.law == "hyperbola"


def test_two_batch_sizes_give_an_answer_that_says_how_little_it_knows(simulated):
    rows = simulated.measurements([8, 16], [1000.0, 520.0])
    fit = fit_laws(rows, FitChoice(replicates=200))
    assert fit.code == "not_identified"
    assert not fit.critical_batch_size.is_bounded
    assert fit.min_steps.low == 0
    assert any("Measure at 32 and 64 next" in sentence for sentence in fit.advice)
