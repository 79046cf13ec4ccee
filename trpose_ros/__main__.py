"""`python -m trpose_ros ...` is `trpose ...`."""

from trpose_ros.commands.main import main

main()
