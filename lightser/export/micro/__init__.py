"""Light-SERNet on a microcontroller: int8 in stripes of time, features in C, arrays to compile."""
