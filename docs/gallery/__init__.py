"""The gallery of the reference: what each built-in transform does to a drawn image and its mask."""
