"""Calls that outlive their gateway: lease, snapshots, recovery, takeover."""
