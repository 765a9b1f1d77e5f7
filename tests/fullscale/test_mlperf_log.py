"""MLPerf's log of a run: by our own reading of the rules, and by the public checker where it is.

The rules are those of a closed ResNet log, rule set 4.0.0, read from mlcommons/logging:
training_4.0.0/common.yaml, closed_common.yaml, closed_resnet.yaml, then
training_3.1.0/closed_resnet_{sgd,lars}.yaml.
"""

import copy
import importlib.util
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullscale.callbacks.mlperf_values import broken_rules

TOKEN = ":::MLLOG "
ONCE = "once"
SOME = "at least once"


def power_of_two(value):
    return value > 0 and math.log2(value / 0.0001).is_integer()


def anything(value):
    return value is not None


RULES = {
    "submission_org": (ONCE, bool),
    "submission_platform": (ONCE, bool),
    "submission_division": (ONCE, {"closed", "open"}.__contains__),
    "submission_status": (ONCE, {"cloud", "onprem", "preview", "research"}.__contains__),
    "submission_benchmark": (ONCE, lambda value: value == "resnet"),
    "cache_clear": (SOME, anything),
    "init_start": (SOME, None),
    "init_stop": (ONCE, None),
    "run_start": (ONCE, None),
    "run_stop": (ONCE, None),
    "block_start": (SOME, None),
    "block_stop": (SOME, None),
    "eval_start": (SOME, None),
    "eval_stop": (SOME, None),
    "eval_accuracy": (SOME, lambda value: 0 <= value <= 1),
    "train_samples": (ONCE, anything),
    "eval_samples": (ONCE, anything),
    "global_batch_size": (ONCE, lambda value: value > 0),
    "gradient_accumulation_steps": (ONCE, lambda value: value > 0),
    "model_bn_span": (ONCE, anything),
    "opt_name": (ONCE, {"sgd", "lars"}.__contains__),
}
OF_OPTIMIZER = {
    "sgd": {
        "sgd_opt_base_learning_rate": (ONCE, lambda value: (value / 0.001).is_integer()),
        "sgd_opt_end_learning_rate": (ONCE, lambda value: value == 0.0001),
        "sgd_opt_learning_rate_decay_poly_power": (ONCE, anything),
        "sgd_opt_learning_rate_decay_steps": (ONCE, anything),
        "sgd_opt_weight_decay": (ONCE, power_of_two),
        "sgd_opt_momentum": (ONCE, anything),
        "opt_learning_rate_warmup_epochs": (ONCE, anything),
    },
    "lars": {
        "lars_opt_base_learning_rate": (ONCE, anything),
        "lars_opt_end_learning_rate": (ONCE, lambda value: value == 0.0001),
        "lars_opt_learning_rate_decay_poly_power": (ONCE, lambda value: value == 2.0),
        "lars_opt_learning_rate_decay_steps": (ONCE, anything),
        "lars_epsilon": (ONCE, lambda value: value == 0.0),
        "lars_opt_learning_rate_warmup_epochs": (ONCE, anything),
        "lars_opt_momentum": (ONCE, anything),
        "lars_opt_weight_decay": (ONCE, power_of_two),
    },
}
METADATA = {
    "run_stop": {"status"},
    "block_start": {"first_epoch_num", "epoch_count"},
    "block_stop": {"first_epoch_num"},
    "eval_start": {"epoch_num"},
    "eval_stop": {"epoch_num"},
    "eval_accuracy": {"epoch_num"},
}
# Of the rules that a text can't be held against, a value that breaks each.
WRONG = {
    "eval_accuracy": 0.7589,
    "global_batch_size": 0,
    "gradient_accumulation_steps": 0,
    "sgd_opt_base_learning_rate": 0.2005,
    "sgd_opt_weight_decay": 0.0003,
    "lars_opt_weight_decay": 0.0003,
}
ACCURACY = 0.759
MAX_INIT_MS = 30 * 60_000


def read_log(path: Path) -> list[dict]:
    """Return the events of a log in their order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith(TOKEN) for line in lines)
    return [json.loads(line.removeprefix(TOKEN)) for line in lines]


def violations(events: list[dict]) -> list[str]:
    """Return what the closed division's checker would refuse, in words."""
    found = []
    values: dict[str, list] = {}
    for event in events:
        values.setdefault(event["key"], []).append(event["value"])
        missing = METADATA.get(event["key"], set()) - set(event["metadata"])
        found += [f"{event['key']} lacks {name}" for name in sorted(missing)]
        if event["key"] == "block_start" and not event["metadata"].get("epoch_count", 0) > 0:
            found.append("block_start has no epoch")
    rules = RULES | OF_OPTIMIZER.get(values.get("opt_name", [""])[0], {})
    for key, (times, holds) in rules.items():
        got = values.get(key, [])
        if not got or (times == ONCE and len(got) != 1):
            found.append(f"{key} stands {len(got)} times, not {times}")
        if holds is not None:
            found += [f"{key} {value!r}" for value in got if not holds(value)]
    if not any(ACCURACY <= value < 1 for value in values.get("eval_accuracy", [])):
        found.append("no accuracy in [0.759, 1)")
    order = [event["key"] for event in events]
    once = ("init_start", "init_stop", "run_start", "block_start", "run_stop")
    if all(key in order for key in once):
        places = [order.index(key) for key in once]
        if places != sorted(places):
            found.append("the order of init, run and blocks")
        first, last = (events[order.index(key)]["time_ms"] for key in ("init_start", "init_stop"))
        if not last - first < MAX_INIT_MS:
            found.append("init took too long")
    return found


RUN = (
    *("--data.global_batch_size=256", "--data.max_per_device_batch_size=100"),
    *("--model.end_learning_rate=0.0001", "--model.weight_decay=0.0001"),
    *("--model.warmup=2 steps", "--model.target=validation_accuracy>=0.9"),
    *("--mlperf_log.org=ours", "--mlperf_log.platform=laptop"),
)
OPTIMIZERS = {
    "momentum": ("--model.learning_rate=0.2",),
    "lars": (
        *("--model.optimizer=lars", "--model.learning_rate=8"),
        "--model.optimizer_numbers={trust_coefficient: 0.01}",
    ),
}


def train(folder: Path, *flags: str) -> tuple[int, list[dict]]:
    from fullscale.fit import main

    log = folder / "result_0.txt"
    words = [*RUN, "--trainer.accelerator=cpu", f"--record.folder={folder / 'trials'}"]
    code = main([*words, f"--mlperf_log.file={log}", *flags])
    return code, read_log(log)


@pytest.fixture(scope="module", params=OPTIMIZERS)
def log(request, tmp_path_factory):
    """The log of a run that reached its target: (optimizer, path, events)."""
    folder = tmp_path_factory.mktemp(request.param)
    code, events = train(folder, *OPTIMIZERS[request.param])
    assert code == 0
    return request.param, folder / "result_0.txt", events


def test_the_log_of_a_run_has_every_key_and_meets_every_rule(log):
    optimizer, _, events = log
    assert violations(events) == []
    values = {event["key"]: event["value"] for event in events}
    assert values["opt_name"] == {"momentum": "sgd"}.get(optimizer, optimizer)
    assert (values["train_samples"], values["eval_samples"]) == (1024, 773)
    assert (values["global_batch_size"], values["gradient_accumulation_steps"]) == (256, 3)
    assert values["submission_org"] == "ours"
    assert events[-1]["key"] == "run_stop"
    assert events[-1]["metadata"] == {"status": "success"}


def test_our_rules_notice_each_line_that_is_missing_and_each_value_that_is_wrong(log):
    """Evidence that the test above can fail."""
    _, _, events = log
    method = next(event["value"] for event in events if event["key"] == "opt_name")
    for key, (_, holds) in (RULES | OF_OPTIMIZER[method]).items():
        assert violations([event for event in events if event["key"] != key]), key
        if holds is not None:
            wrong = copy.deepcopy(events)
            for event in wrong:
                if event["key"] == key:
                    event["value"] = None if holds is anything else WRONG.get(key, "")
            assert violations(wrong), key
    for key, names in METADATA.items():
        for name in names:
            wrong = copy.deepcopy(events)
            del next(event for event in wrong if event["key"] == key)["metadata"][name]
            assert violations(wrong), (key, name)


def test_blocks_and_evaluations_take_turns_and_count_epochs(log):
    """An epoch of 1,024 examples is 4 steps of 256; an evaluation comes after each."""
    _, _, events = log
    started = [event["key"] for event in events].index("run_start")
    course = events[started + 1 : -1]
    turn = ["block_start", "block_stop", "eval_start", "eval_accuracy", "eval_stop"]
    assert [event["key"] for event in course] == turn * (len(course) // 5)
    for number in range(len(course) // 5):
        block, end, *evaluation = (each["metadata"] for each in course[5 * number : 5 * number + 5])
        assert block == {"first_epoch_num": number, "epoch_count": 1}
        assert end == {"first_epoch_num": number}
        assert evaluation == [{"epoch_num": number + 1}] * 3
    times = [event["time_ms"] for event in events]
    assert times == sorted(times)


@pytest.mark.skipif(
    importlib.util.find_spec("mlperf_logging") is None,
    reason="pip install git+https://github.com/mlcommons/logging",
)
def test_the_public_checker_accepts_the_log(log):
    checker = ("mlperf_logging.compliance_checker", "--usage", "training", "--ruleset", "4.0.0")
    done = subprocess.run(
        [sys.executable, "-m", *checker, log[1]],
        cwd=log[1].parent,  # it leaves a file of its own
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "SUCCESS" in done.stderr + done.stdout


def test_a_run_that_misses_its_target_is_aborted(tmp_path):
    code, events = train(tmp_path, "--model.train_duration=5 steps")
    assert code == 0
    assert events[-1]["metadata"] == {"status": "aborted"}
    # The last block is the fifth step alone.
    counts = [e["metadata"]["epoch_count"] for e in events if e["key"] == "block_start"]
    assert counts == [1, 0.25]


def test_a_resumed_run_has_one_log_of_the_whole(tmp_path):
    flags = (
        *OPTIMIZERS["momentum"],
        *(f"--checkpoint.folder={tmp_path / 'checkpoints'}", "--checkpoint.every=3 steps"),
    )
    stop = (
        *("--trainer.callbacks+=fit_callbacks.SignalAtStep", "--trainer.callbacks.step=5"),
        f"--trainer.callbacks.number={int(signal.SIGINT)}",
    )
    code, first = train(tmp_path, *flags, *stop)
    assert (code, first[-1]["metadata"]) == (130, {"status": "aborted"})
    code, events = train(tmp_path, *flags)
    assert code == 0
    assert violations(events) == []
    # All that was noted before the checkpoint stands as it was, times too.
    assert events[: len(first) - 2] == first[:-2]


def test_what_the_closed_division_refuses_is_said_before_the_run(tmp_path, capsys):
    train(tmp_path, "--model.end_learning_rate=0", "--model.learning_rate=0.2005")
    out = capsys.readouterr().out
    assert "the closed division refuses sgd_opt_end_learning_rate 0.0: it must be 0.0001" in out
    assert "sgd_opt_base_learning_rate 0.2005: it must be a multiple of 0.001" in out


def test_a_log_without_a_submitter_or_a_place_is_refused(fit, tmp_path):
    code, _, err = fit("--data.global_batch_size=256", f"--mlperf_log.file={tmp_path / 'log'}")
    assert (code, err.count("\n")) == (2, 1)
    assert "--mlperf_log.org is missing" in err
    code, _, err = fit(*RUN, "--mlperf_log.file=/proc/nothing/log")
    assert (code, err.count("\n")) == (2, 1)
    assert "--mlperf_log.file /proc/nothing/log can't be written" in err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model.optimizer=adam",), "--model.optimizer adam has no words there"),
        (("--model.optimizer=lookahead:momentum",), "lookahead:momentum has no words there"),
        (("--model.schedule=cosine",), "its rules want --model.schedule polynomial, not cosine"),
    ],
)
def test_a_run_that_the_log_has_no_words_for_is_refused_before_it_starts(
    fit, tmp_path, flags, words
):
    log = tmp_path / "log"
    code, trial, err = fit(*RUN, f"--mlperf_log.file={log}", "--mlperf_log.org=us", *flags)
    assert (code, trial, err.count("\n")) == (2, None, 1)
    assert words in err
    assert not log.exists()


@pytest.mark.parametrize(
    ("optimizer", "method", "refused"),
    [
        ("nesterov", "sgd", 0),
        ("lars_scaled_momentum", "lars", 0),
        ("lars_mlperf", "lars", 1),
    ],
)
def test_a_variant_is_logged_by_its_method_with_its_own_numbers(
    tmp_path, optimizer, method, refused
):
    _, events = train(tmp_path, f"--model.optimizer={optimizer}", "--trainer.max_steps=1")
    values = {event["key"]: event["value"] for event in events}
    assert values["opt_name"] == method
    if method == "lars":
        assert values["lars_epsilon"] == (1e-7 if refused else 0)
        assert f"{broken_rules(values)}".count("lars_epsilon") == refused


def test_the_recipe_of_mlperf_breaks_no_rule():
    import yaml

    from fullscale.callbacks.mlperf_log import model_values
    from fullscale.data.modules import ImageData
    from fullscale.module import Classifier

    root = Path(__file__).parents[2]
    recipe = yaml.safe_load(
        (root / "fullscale" / "recipes" / "resnet50_lars_32k.yaml").read_text(encoding="utf-8")
    )
    settings = recipe["data"] | {"name": "synthetic"}
    settings = {name: settings[name] for name in settings if name != "root"}
    data = ImageData(**settings, train_duration=recipe["model"]["train_duration"])
    data.prepare_dry_run(processes=512, copies=1, limits=(None, None))
    module = Classifier(**recipe["model"])
    vars(module)["_data"] = data
    values = model_values(module)
    assert broken_rules(values) == []
    # resnet_ref_32768 of the reference convergence points: 2,267 steps less 626 of warm-up.
    assert values["lars_opt_end_learning_rate"] == 0.0001
    assert values["lars_opt_learning_rate_warmup_epochs"] == pytest.approx(16, rel=1e-3)
    assert values["gradient_accumulation_steps"] == 1
