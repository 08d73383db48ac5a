"""MLflow's REST API: reads a request, emits an event, waits for its decision, answers."""
