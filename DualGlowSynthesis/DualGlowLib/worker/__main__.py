"""``python -m DualGlowLib.worker FOLDER``, see ``server``."""

from .server import main

main()
