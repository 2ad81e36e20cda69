"""Configurations that ship with medpipe: see `medpipe.PipelineBuilder.from_recipe`."""
