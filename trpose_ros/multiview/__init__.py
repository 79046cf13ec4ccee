"""People seen by several calibrated cameras become one skeleton each, in a common world frame.

``rig`` says where cameras stand and ``rig_file`` reads that; ``sights`` turns one camera's people
into rays of the world and brings them to a common time; ``grouping`` finds who is the same person,
``triangulation`` and ``joining`` join what is seen of one, ``world_tracks`` remembers people,
``views`` says what is due and who is silent, ``health`` finds cameras that have moved or whose
clocks are off, ``results`` makes People of it, and ``multiview`` is all of it in order.

Imports: vocabulary.
"""
