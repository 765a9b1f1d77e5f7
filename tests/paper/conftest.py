import pytest

from paper.numbers.study import RESULTS, Study
from paper.numbers.sweep_records import SweepFile, read_sweep
from paper.numbers.walks import ADAPTED, WALKS, study_walks


@pytest.fixture(scope="session")
def study():
    """The records with one sweep only, and few replicates: every part of the numbers, few fits."""
    path = RESULTS / "fashion_mnist.csv"
    file = SweepFile(path=path, workload="fashion_mnist", optimizer="momentum", has_trials=False)
    walks, adapted = (study_walks(RESULTS / each, replicates=40) for each in (WALKS, ADAPTED))
    return Study(results=RESULTS, sweeps=[read_sweep(file)], walks=walks, adapted=adapted)
