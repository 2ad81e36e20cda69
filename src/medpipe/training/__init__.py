"""Training: device, determinism, the loop around a trainer's engine, checkpoints, memory."""
