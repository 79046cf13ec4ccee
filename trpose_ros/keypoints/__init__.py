"""2D keypoints that other programs have found, read from their files into one value.

``clip`` is the value, ``read`` chooses the reader by what a file is; one file a format. Nothing is
guessed that would become a wrong number: order of joints, size and rate come from the file or from
the user.

Imports: vocabulary, data/datasets.
"""
