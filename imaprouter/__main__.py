"""`python -m imaprouter`."""

from imaprouter.cli import main

main()
