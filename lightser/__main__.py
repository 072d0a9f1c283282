"""``python -m lightser`` is the ``lightser`` command."""

from lightser.cli import main

main()
