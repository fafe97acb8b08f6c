"""What a compiled model does, and where its time goes: in numbers, against the machine's limits, and in words."""
