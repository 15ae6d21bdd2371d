//! Peers that are told when their packets came (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use super::Registry;
use crate::arrivals::Counting;
use crate::worker::{ReceiveOrder, SendOrder};

impl Registry {
    /// Tell the peer of a flow, by reports of the flow's own source, when its packets come; None: no more.
    ///
    /// Of a transport that several share the numbers go over all its streams: they are its carrier's.
    pub(super) fn count_arrivals(&self, flow: u32, counting: Option<Counting>) -> Option<()> {
        if let Some(counting) = &counting {
            self.owns_report(flow, &counting.head)?;
        }
        self.to_receive(flow, ReceiveOrder::Arrivals(counting))
    }

    /// Send a report that the thread of the flow's receive half has made.
    pub fn report(&self, flow: u32, packet: Box<[u8]>) {
        if self.owns_report(flow, &packet).is_some() {
            self.to_send(flow, SendOrder::Rtcp(packet));
        }
    }
}
