"""Scripts with which a browser offers one audio codec and no other, and says which it used."""

from __future__ import annotations

CODECS = ["PCMU", "PCMA", "G722"]
ONLY = """
  const mime = 'audio/NAME';
  const wanted = () => RTCRtpReceiver.getCapabilities('audio').codecs
    .filter(each => [mime, 'audio/telephone-event'].includes(each.mimeType));
  const make = RTCPeerConnection.prototype.createOffer;
  RTCPeerConnection.prototype.createOffer = function (...given) {
    for (const each of this.getTransceivers())
      if (each.receiver.track.kind === 'audio') each.setCodecPreferences(wanted());
    window.__peer = this;
    return make.apply(this, given);
  };
"""
USED = """async () => {
  const stats = await window.__peer.getStats(), found = {};
  for (const each of stats.values())
    if (each.type === 'inbound-rtp' || each.type === 'outbound-rtp')
      found[each.type] = stats.get(each.codecId)?.mimeType;
  return found;
}"""
