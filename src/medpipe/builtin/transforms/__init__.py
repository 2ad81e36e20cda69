"""Transform steps: loading, MONAI's dictionary transforms and their forms for batches."""
