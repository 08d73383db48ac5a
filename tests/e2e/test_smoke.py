"""The server answers."""

from tests.server import Server


def test_a_run_is_created_logged_and_read(server: Server) -> None:
    run = server.post("runs/create", {"experiment_id": "0"}).json()["run"]
    run_id = run["info"]["run_id"]
    assert server.post("runs/log-metric", {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}).status_code == 200
    assert server.get("runs/get", run_id=run_id).json()["run"]["data"]["metrics"][0]["value"] == 1.0
    assert server.stop() == 0
