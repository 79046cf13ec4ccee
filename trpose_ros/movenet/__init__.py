"""MoveNet: people in an image, and the 17 joints of COCO of a person, with scores.

``network`` is MobileNetV2 with a feature pyramid and heads, ``decoding`` turns their maps into
people, ``importing`` reads the published TensorFlow.js files.

Imports: vocabulary, weights, metrabs, metrabs/backbones.
"""
