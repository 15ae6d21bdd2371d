"""JSON-RPC 2.0 over WebSocket, in both dialects."""
