"""What the dataset steps `image_folder` and `table` are made of."""
