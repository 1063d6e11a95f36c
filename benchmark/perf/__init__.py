"""How fast the harness is on the machine at hand, next to what people write and to what the device could do."""
