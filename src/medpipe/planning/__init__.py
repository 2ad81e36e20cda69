"""Write the configuration that an expert would begin with, each choice with its reason."""
