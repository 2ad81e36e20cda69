"""What `image_folder` and `table` have in common, and the parts of each."""
