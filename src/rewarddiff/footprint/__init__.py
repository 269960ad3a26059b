"""What a model takes of memory: its shape, the peak of a forward pass, and what there is."""
