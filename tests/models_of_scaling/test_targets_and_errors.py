import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_of_scaling.command_line import run_command
from models_of_scaling.errors import InputError
from models_of_scaling.targets import Target


@given(value=st.floats(0.001, 1.0))
def test_a_target_reads_back_what_it_prints(value):
    target = Target(metric="validation_accuracy", direction=">=", value=value)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "accuracy>=0.9", "validation_accuracy>0.9", "validation_accuracy<=0.9",
        "validation_loss>=0.1", "validation_accuracy>=95", "validation_accuracy>=0",
        "validation_loss<=nan", "validation_loss<=low", "train_loss<=inf",
    ],
)  # fmt: skip
def test_a_target_that_breaks_a_rule_is_refused(text):
    with pytest.raises(InputError, match="target"):
        Target.parse(text)


def test_nan_meets_no_target():
    assert not Target.parse("validation_accuracy>=0.9").is_met(float("nan"))
    assert not Target.parse("validation_loss<=0.9").is_met(float("nan"))


def test_wrong_input_is_one_line_and_code_two(capsys):
    def fail() -> None:
        raise InputError("table.csv: first\nsecond")

    with pytest.raises(SystemExit) as end:
        run_command(fail)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: table.csv: first second\n"


def test_an_interruption_is_code_130_and_our_own_faults_keep_their_traceback(capsys):
    def stop() -> None:
        raise KeyboardInterrupt

    def fault() -> None:
        raise ZeroDivisionError

    assert run_command(stop) == 130
    assert "interrupted" in capsys.readouterr().err
    assert run_command(lambda: None) == 0
    with pytest.raises(ZeroDivisionError):
        run_command(fault)
