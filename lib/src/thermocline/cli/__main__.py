"""``python -m thermocline.cli`` is the command ``thermocline``."""

from thermocline.cli import main

main()
