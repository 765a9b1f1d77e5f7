from models_of_scaling.report_tables import tuning_rows
from models_of_scaling.trials import trials_to_table
from models_of_scaling.tuning_cost import tuning_cost, tuning_cost_of_table


def test_every_trial_was_paid_for_however_it_ended(simulated):
    trials = [
        simulated.trial(batch_size=8, phase="search", steps=10, seed=0),
        simulated.trial(batch_size=8, phase="search", steps=30, seed=1, status="diverged"),
        simulated.trial(batch_size=8, phase="shortlist", steps=5, seed=2),
        simulated.trial(batch_size=8, phase="repeat", steps=9, seed=3),
        simulated.trial(batch_size=16, phase="repeat", steps=4, seed=3),
    ]
    small, large = tuning_cost(trials)
    assert (small.search, small.shortlist, small.repeat) == (8 * 40, 8 * 5, 8 * 9)
    assert small.ratio == 5.0
    assert (large.search, large.repeat) == (0, 16 * 4)
    assert tuning_cost_of_table(trials_to_table(trials)) == [small, large]
    # The report leaves out what was not searched.
    assert tuning_rows([small, large]) == [
        {"batch_size": "8", "search": "320", "shortlist": "40", "repeat": "72", "ratio": "5x"}
    ]
