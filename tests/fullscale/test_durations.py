import pytest

from fullscale.batch_layout import BatchLayout
from fullscale.durations import Duration
from fullscale.run_plan import plan_run
from models_of_scaling.errors import InputError

SIZE = {"batch_size": 256, "num_train_examples": 1024}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("5 epochs", 20),
        ("1 epoch", 4),
        ("0 epochs", 0),
        ("7 steps", 7),
        ("257 examples", 2),
        ("1e3 examples", 4),
        ("0.1 epochs", 1),
    ],
)
def test_a_duration_covers_its_length_with_the_fewest_steps(text, steps):
    assert Duration.parse(text).to_steps(**SIZE) == steps


def test_a_decimal_is_taken_as_written_not_as_its_binary_neighbour():
    # 0.1 * 3 is 0.30000000000000004 in binary, which would cost a step.
    length = Duration(amount=0.3, unit="epochs")
    assert length.to_steps(batch_size=300, num_train_examples=1000) == 1


def test_what_a_duration_prints_is_read_back():
    for text in ("5 epochs", "0.25 epochs", "100000 examples", "3 steps"):
        assert str(Duration.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "5", "epochs", "5 weeks", "-1 steps", "1.5 steps", "nan epochs", "x steps"]
)
def test_a_text_that_is_no_duration_is_refused_with_flag_and_value(text):
    with pytest.raises(InputError, match="--model.warmup") as caught:
        Duration.parse(text, flag="--model.warmup")
    assert repr(text) in str(caught.value)


def plan(**more):
    layout = BatchLayout(global_batch_size=256, world_size=1, max_per_device_batch_size=256)
    given = {"train_duration": "10 epochs", "evaluate_every": "1 epochs"}
    return plan_run(layout=layout, num_train_examples=1024, **given | more)


def test_a_limit_of_the_trainer_shortens_the_run_and_not_its_schedule():
    assert plan(max_steps=7).stop_steps == 7
    assert plan(max_epochs=3).stop_steps == 12
    assert plan(max_steps=7).num_train_steps == plan().num_train_steps == plan().stop_steps == 40


def test_a_duration_of_no_step_is_refused_by_flag():
    with pytest.raises(InputError, match="--model.train_duration '0 epochs'"):
        plan(train_duration="0 epochs")
    with pytest.raises(InputError, match="--data.evaluate_every '0 steps'"):
        plan(evaluate_every="0 steps")
    with pytest.raises(InputError, match="leaves 0 steps"):
        plan(max_steps=0)
