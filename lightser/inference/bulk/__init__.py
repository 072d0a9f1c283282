"""Archives: a table of answers for a list of files of any length, over all cores or a cluster.

What is done is on disk, part by part, so that a run that was killed goes on where it was.
"""

from lightser.inference.bulk.archive import Summary, predict_archive

__all__ = ["Summary", "predict_archive"]
