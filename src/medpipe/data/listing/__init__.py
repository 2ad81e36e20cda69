"""Which files below a folder are images: one walker for training, evaluation and prediction."""
