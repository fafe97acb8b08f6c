"""A run of a compiled model: feeds, plan, program, results."""
