"""The engine beside this process: rtpengine over its ng protocol."""
