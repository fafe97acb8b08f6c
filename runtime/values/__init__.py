"""What is fed and returned: values, sparse tensors, where they lie, DLPack."""
