"""Where the buffers of a program live: on which side, and at which place of its memory."""
