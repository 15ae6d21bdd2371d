//! Peers that are told when their packets came, each by a timer of its own while anything comes.

use super::outbox::Outbox;
use super::table::Table;
use super::{Up, Uplink};
use crate::arrivals::{Arrivals, Counting};
use crate::flow::Receive;
use crate::rtp;
use std::cmp::Reverse;

/// Begin or end to tell; the same again changes nothing, and another way to number goes on with what has come.
pub(super) fn obey(receive: &mut Receive, counting: Option<Counting>) {
    match (&mut receive.arrivals, counting) {
        (Some(arrivals), Some(counting)) => arrivals.counting = counting,
        (arrivals, counting) => *arrivals = counting.map(|counting| Box::new(Arrivals::new(counting))),
    }
}

impl Table {
    /// A well-formed packet with a header extension has come by the transport of the flow in `slot`.
    pub(super) fn note_arrival(&mut self, slot: usize, packet: &[u8], source: u32, now: u64) {
        let Some(Some(receive)) = self.receives.get_mut(slot) else { return };
        let Some(arrivals) = &mut receive.arrivals else { return };
        let number = rtp::extension(packet, arrivals.counting.extension).and_then(|data| data.try_into().ok());
        let Some(number) = number.map(u16::from_be_bytes) else { return };
        if let Some(due) = arrivals.note(number, source, packet.len(), now) {
            self.told.push(Reverse((due, receive.flow)));
        }
    }

    /// Tell the peers that are to be told now.
    pub(super) fn tell_arrivals(&mut self, outbox: &mut Outbox, uplink: &mut Uplink, now: u64) {
        while let Some(&Reverse((due, flow))) = self.told.peek() {
            if due > now {
                return;
            }
            self.told.pop();
            let receive = self.receive_slot(flow).and_then(|slot| self.receives.get_mut(slot)?.as_deref_mut());
            let Some(mut arrivals) = receive.and_then(|receive| receive.arrivals.take()) else { continue };
            // Another entry of the same half is left over where it was told anew.
            if arrivals.begin(due, now) {
                while let Some(packet) = arrivals.tell() {
                    self.report(outbox, uplink, flow, packet);
                }
            }
            if let Some(receive) = self.receive_slot(flow).and_then(|slot| self.receives.get_mut(slot)?.as_deref_mut())
            {
                receive.arrivals = Some(arrivals);
            }
        }
    }

    /// Send a compound packet to the peer of a flow, or have it sent where its send half is with another thread.
    fn report(&mut self, outbox: &mut Outbox, uplink: &mut Uplink, flow: u32, packet: &[u8]) {
        let Some(slot) = self.send_slot(flow) else {
            return uplink.tell(Up::Report { flow, packet: packet.into() });
        };
        self.make_room(outbox, slot);
        if let Some((send, _)) = self.still_send(flow, slot) {
            outbox.send_rtcp(send, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Config;
    use std::sync::Arc;

    #[test]
    fn what_has_come_is_told_of_though_the_way_to_number_is_said_again() {
        let mut receive = Receive::new(1, Config::default(), None, Arc::default());
        let mut note = |number, extension| {
            obey(&mut receive, Some(Counting { extension, head: [].into() }));
            receive.arrivals.as_mut().unwrap().note(number, 7, 100, 5)
        };
        assert!(note(1, 3).is_some(), "the first begins a timer");
        assert_eq!((note(2, 3), note(3, 4)), (None, None), "which goes on");
        obey(&mut receive, None);
        assert!(receive.arrivals.is_none());
    }
}
