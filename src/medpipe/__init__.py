"""medpipe."""
