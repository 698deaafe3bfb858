"""A student as C99 for a microcontroller."""
