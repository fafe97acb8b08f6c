"""GPUs: their memory, what a `Device` is, the CUDA driver, and Triton's interpreter where there is none."""
