"""Everything offline that comes in or goes out: bags, videos, cameras, pictures. No ROS needed.

``sources`` opens whatever a user names and gives frames; ``bags``, ``salvage`` and ``messages`` are
recordings and what stands in them; ``video``, ``pictures`` and ``image_codec`` are pixels.

Imports: vocabulary, occlusion, drawing.
"""
