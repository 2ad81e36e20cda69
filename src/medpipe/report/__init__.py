"""The report of a run: figures, sections, the page and the model card."""
