"""Who runs the flow: gateway, log writer, projector and the adapters to the servers they use."""
