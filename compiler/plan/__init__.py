"""Where the buffers of a program live: on which side, and in which memory."""
