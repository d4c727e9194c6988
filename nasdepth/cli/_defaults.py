"""What commands take where nobody says otherwise."""

# The board that the challenge is scored on; an estimate until someone measures theirs
DEFAULT_TABLE = "rpi4-tflite2.5-ruy-4t"
