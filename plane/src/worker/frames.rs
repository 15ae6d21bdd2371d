//! Frames of transcoders, sent when they are due.

use super::outbox::Outbox;
use super::table::Table;
use crate::flow::Send;
use std::cmp::Reverse;

impl Table {
    /// A transcoder of this flow has a frame due then, ns.
    pub fn expect_frame(&mut self, due: u64, flow: u32) {
        self.frames.push(Reverse((due, flow)));
    }

    /// Make and send the frames that are due.
    pub fn play_frames(&mut self, outbox: &mut Outbox, now: u64) {
        while let Some(&Reverse((due, flow))) = self.frames.peek() {
            if due > now {
                return;
            }
            self.frames.pop();
            let Some(slot) = self.receive_slot(flow) else { continue };
            if let Some(next) = self.play_frame(outbox, slot, due, now) {
                self.frames.push(Reverse((next, flow)));
            }
        }
    }

    /// The frame due then, of the receive half in this slot; when the next is due.
    fn play_frame(&mut self, outbox: &mut Outbox, slot: usize, due: u64, now: u64) -> Option<u64> {
        let full = self.both(slot)?.1.is_some_and(|(send, _)| outbox.must_flush(send));
        if full {
            outbox.flush(self);
        }
        let (receive, target) = self.both(slot)?;
        // Another entry of the same half is left over where its transcoder rested.
        if !receive.transcoding.is_scheduled(due) {
            return None;
        }
        if let (Some((second, frame)), Some((send, at))) = (receive.transcoding.tick(now), target) {
            send_frame(outbox, send, at, second, frame.timestamp, frame.payload, now);
        }
        receive.transcoding.schedule()
    }
}

/// Send one frame after all other packets, where its timestamp belongs.
fn send_frame(outbox: &mut Outbox, send: &mut Send, slot: usize, second: u8, timestamp: u32, payload: &[u8], now: u64) {
    let (ready, passes) = (send.ready(), send.passes());
    let Some(outgoing) = &mut send.outgoing else { return };
    if !passes || !ready || outgoing.in_event(now) {
        return outgoing.skip();
    }
    let header = outgoing.emit_at(second, 0, timestamp, 0, now);
    outbox.send_rtp(send, slot, &header, payload);
}
