"""MoveNet: people in an image, and the 17 joints of COCO of a person, with scores."""
