"""The formats of image files; `medpipe.data.reading` is the door to them."""
