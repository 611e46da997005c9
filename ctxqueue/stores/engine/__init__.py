"""What the effects do, once, for every store that is written in Python."""
