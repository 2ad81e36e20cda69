"""Transform steps: loading, MONAI's dictionary transforms and batched versions of them."""
