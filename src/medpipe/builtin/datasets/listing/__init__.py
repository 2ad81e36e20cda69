"""Listing of images and labels for the dataset steps `image_folder` and `table`."""
