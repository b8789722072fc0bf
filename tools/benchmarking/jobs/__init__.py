"""One file per sub-command: ``add_arguments(parser)`` and ``main(args)``, which returns a report."""
