"""Programs elsewhere that take calls over a WebSocket: 20 ms of sound at a time, and JSON events."""
