"""HTTP, WebSocket and page."""
