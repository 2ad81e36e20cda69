"""Takes files and archives from the internet without trusting them."""
