"""What the pipeline sees and makes, logged for the rerun viewer: to a window, or to a file.

``shapes`` lays people out as plain arrays, ``rerun_log`` logs these and images on the timeline of
the stamps, ``sinks`` opens the viewer or the file; ``library`` is the only door to rerun.

Imports: vocabulary, drawing.
"""
