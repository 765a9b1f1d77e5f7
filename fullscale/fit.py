"""Train one trial to its target: python -m fullscale.fit --data.global_batch_size 256 ...

Every flag: python -m fullscale.fit --help; the resolved settings: --print_config.
"""

import os
import sys
from collections.abc import Sequence

from fullscale.launch.cluster_environment import check_cluster, speaks_for_node
from models_of_scaling.command_line import EXIT_INPUT, EXIT_INTERRUPTED, run_command
from models_of_scaling.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; the process's own when None.

    Returns:
        The exit code.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)

    def command() -> int:
        try:
            check_cluster(arguments, os.environ)
            # Seconds of import, which a run without its cluster must not wait for.
            from fullscale.train import train

            return train(arguments)
        except InputError:
            if speaks_for_node(os.environ):
                raise
            return EXIT_INPUT
        except KeyboardInterrupt:
            if speaks_for_node(os.environ):
                raise
            return EXIT_INTERRUPTED

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
