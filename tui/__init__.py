"""The Textual app and the command line, and the one place where the parts are wired together."""

import os

# Textual reads these when it is imported. Nothing moves by itself here, and a slow line carries no more than it must.
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_FPS", "30")
