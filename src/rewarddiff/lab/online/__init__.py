"""The laboratory with a real transformer: ways to learn from a noisy reward, at equal samples."""
