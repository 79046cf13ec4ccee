"""What runs a network: PyTorch or OpenVINO, prepared for the processor at hand.

``modules.fast_module`` chooses and prepares, and whoever calls the result need not know which.
Networks with batch norm are folded (``folding``) and packed (``packed_convolutions``) on the way.
``onnx_export`` writes networks for other runtimes.

Imports: nothing.
"""
