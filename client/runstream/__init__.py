"""What runs inside a training job. The client arrives with a later release; today: the `runstream` command."""

__version__ = "0.1.0"
