import json

import numpy as np
import pytest

from models_of_scaling.errors import InputError
from models_of_scaling.fit_record import read_fit, write_fit
from models_of_scaling.law_fit import FitChoice, fit_laws
from models_of_scaling.laws import Hyperbola


@pytest.fixture(scope="module")
def fit(simulated):
    sizes = np.repeat(2 ** np.arange(3, 11), 2)
    steps = Hyperbola(min_steps=100, critical_batch_size=300).steps_to_target(sizes)
    rows = simulated.measurements(sizes, steps, cap=2000)
    return fit_laws(rows, FitChoice(replicates=500, holdout_above=256))


@pytest.fixture(scope="module")
def open_ended(simulated):
    return fit_laws(simulated.measurements([8, 16], [100.0, 50.0]), FitChoice(replicates=60))


def test_a_record_read_back_is_the_record_written(tmp_path, fit, open_ended):
    assert np.isinf(open_ended.critical_batch_size.high)
    for record in (fit, open_ended):
        write_fit(tmp_path / "new folder" / "fit.json", record)
        assert read_fit(tmp_path / "new folder" / "fit.json") == record
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["fit.json"]


def test_the_file_is_strict_json_with_what_readers_need(tmp_path, fit):
    write_fit(tmp_path / "fit.json", fit)

    def refuse(word):
        raise AssertionError(word)

    content = json.loads((tmp_path / "fit.json").read_text(), parse_constant=refuse)
    assert content["schema_version"] == 3
    assert content["provenance"]["versions"]["numpy"] == np.__version__
    assert len(content["laws"][0]["replicates"]["min_steps"]) == 400
    assert content["held_out"]["batch_size"] == [512, 512, 1024, 1024]
    assert content["measured"]["reached"][:2] == [False, False]
    assert content["measured"]["steps_high"][0] is None


def test_the_same_seed_gives_the_same_numbers(simulated, fit):
    sizes = np.repeat(2 ** np.arange(3, 11), 2)
    steps = Hyperbola(min_steps=100, critical_batch_size=300).steps_to_target(sizes)
    rows = simulated.measurements(sizes, steps, cap=2000)
    again = fit_laws(rows, FitChoice(replicates=500, holdout_above=256))
    other = fit_laws(rows, FitChoice(replicates=500, holdout_above=256, seed=1))
    assert again.laws == fit.laws
    assert other.laws != fit.laws


def damage(content, path, value):
    *keys, last = path
    for key in keys:
        content = content[key]
    if value is None:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["laws"], None), (["laws"], 7), (["laws", 0, "name"], "cubic"),
        (["laws", 0, "replicates"], None), (["measured", "steps"], [1.0]), (["law"], "cubic"),
        (["schema_version"], 99), (["format"], "something else"), (["code"], "fine"),
        (["critical_batch_size", "low"], 1e9), (["laws", 0, "surprise"], 1),
        (["level"], "0.9"), (["level"], 1.5), (["level"], float("nan")), (["source"], None),
        (["source"], []), (["source", "num_rows"], "12"), (["num_train_examples"], "60000"),
        (["num_train_examples"], 0), (["workload"], 7), (["advice"], [7]), (["group_sd"], -1.0),
        (["measured", "batch_size"], [0] * 12), (["measured", "steps"], [-1.0] * 12),
        (["laws", 0, "weight"], float("nan")), (["laws", 0, "weight"], 0.999999),
        (["laws", 0, "weight"], -1.0), (["laws", 0, "noise"], 0.0),
        (["laws", 0, "point", "min_steps"], "x"), (["laws", 0, "point", "min_steps"], None),
        (["laws", 0, "replicates", "min_steps"], None), (["laws", 0, "replicates", "noise"], []),
        (["laws", 0, "replicates", "noise", 3], float("nan")),
        (["laws", 0, "replicates", "min_steps", 3], float("inf")),
        (["laws", 0, "replicates", "min_steps", 3], -1.0), (["laws", 0, "deviation"], {}),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_with_its_name(tmp_path, fit, path, value):
    file = tmp_path / "fit.json"
    write_fit(file, fit)
    content = json.loads(file.read_text())
    damage(content, path, value)
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="fit.json"):
        read_fit(file)


def test_a_record_of_two_laws_without_a_sharpness_is_still_read(tmp_path, fit):
    """Records from before the p-norm knee have the same schema."""
    file = tmp_path / "fit.json"
    write_fit(file, fit)
    content = json.loads(file.read_text())
    content["laws"] = [law for law in content["laws"] if law["name"] != "p_norm_knee"]
    total = sum(law["weight"] for law in content["laws"])
    for law in content["laws"]:
        law["weight"] /= total
    content["law"] = "hyperbola"
    file.write_text(json.dumps(content))
    old = read_fit(file)
    assert [law.name for law in old.laws] == ["hyperbola", "power_with_floor"]
    assert np.isfinite(old.best.replicate_steps(1024)).all()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": 1}', "\x00\xff", "[" * 100_000, '{"a": NaN}', "9" * 5000]
)
def test_a_foreign_file_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "fit.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="fit.json"):
        read_fit(tmp_path / "fit.json")
