"""One file per sub-command, with ``add_arguments(parser)`` and ``main(args) -> report``."""
