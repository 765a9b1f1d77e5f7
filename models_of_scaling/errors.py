"""The one error for wrong input: what the user gave breaks a rule, and nothing was done.

Every command line of the project turns it into one line on standard error and exit code 2
(`models_of_scaling.command_line`).
"""


class InputError(ValueError):
    """Input or arguments are wrong.

    The message is one line that names the file or flag, the row, the value and the rule.
    """
