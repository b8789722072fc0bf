"""One file per sub-command, with ``main(args) -> report``; its arguments are in ``options.py``."""
