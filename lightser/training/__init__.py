"""Recipes, batches, the loop, cross-validation and the engines that run its jobs."""
