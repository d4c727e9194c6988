"""What is taken where nobody says otherwise; importing it costs nothing."""

# The board that the challenge is scored on, under what tflite-runtime and ai-edge-litert run there today; an
# estimate until someone measures theirs
DEFAULT_TABLE = "rpi4-xnnpack-4t"
