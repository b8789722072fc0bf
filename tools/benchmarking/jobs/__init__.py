"""One file a sub-command: ``add_arguments(parser)`` and ``main(args)``, which returns the report."""
