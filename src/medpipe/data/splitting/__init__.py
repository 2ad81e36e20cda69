"""What a split is made of; `medpipe.data.splits` is the door to it."""
