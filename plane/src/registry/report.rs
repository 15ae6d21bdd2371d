//! Answers to the questions of a gateway: how flows stand, what was dropped, what there is.

use super::{Flow, Port, Registry};
use crate::counters::{Count, Received, Sent, ThreadCounters, DROPPED};
use crate::sys;
use crate::wire::{up, Writer};

fn counts<'a>(writer: Writer, counts: impl ExactSizeIterator<Item = &'a Count>) -> Writer {
    let length = counts.len() as u8;
    writer.u8(length).each(counts, |writer, count| writer.u64(count.get()))
}

fn received(writer: Writer, from: &Received) -> Writer {
    let counted: Vec<&Count> = [
        &from.heard,
        &from.packets,
        &from.octets,
        &from.ssrc,
        &from.generation,
        &from.admitted,
        &from.admitted_octets,
        &from.expected,
        &from.run_received,
        &from.lost,
        &from.loss_runs,
        &from.extended_highest,
        &from.jitter,
        &from.arrived,
        &from.clock_rate,
        &from.payload_type,
    ]
    .into_iter()
    .chain(&from.discards)
    .chain(&from.playout)
    .collect();
    counts(writer, counted.into_iter())
}

fn sent(writer: Writer, from: &Sent) -> Writer {
    let counted: Vec<&Count> = [
        &from.ssrc,
        &from.packets,
        &from.octets,
        &from.sequence_number,
        &from.timestamp,
        &from.sent_at,
        &from.rate_out,
    ]
    .into_iter()
    .chain(&from.unsent)
    .collect();
    counts(writer, counted.into_iter())
}

impl Registry {
    pub(super) fn snapshot(&self, request: u32, flows: &[u32], now: u64) -> Vec<u8> {
        let known: Vec<(u32, &Flow)> = flows.iter().filter_map(|id| Some((*id, self.flows.get(id)?))).collect();
        let reply = up::reply(request, 400 * known.len()).u64(now).u32(known.len() as u32);
        reply.each(known, |writer, (id, flow)| self.one(writer, id, flow)).finish()
    }

    fn one(&self, writer: Writer, id: u32, flow: &Flow) -> Writer {
        let writer = sent(received(writer.u32(id), &flow.counters.received), &flow.counters.sent);
        let source = match self.ports.get(&flow.port) {
            Some(Port::Shared(_)) => self.carrying(flow).selected.map(|(_, source)| source),
            _ => flow.source,
        };
        writer
            .maybe_addr(source.as_ref())
            .maybe_addr(self.destination(flow).as_ref())
            .u16(flow.pairs.len() as u16)
            .each(&flow.pairs, |writer, ((path, source), checked)| writer.u64(*path).addr(source).u64(checked.get()))
    }

    pub(super) fn counters(&self, request: u32) -> Vec<u8> {
        let sum = |of: &dyn Fn(&ThreadCounters) -> &Count| -> u64 {
            self.threads.iter().map(|each| of(&each.counters).get()).sum()
        };
        let dropped = DROPPED.iter().enumerate();
        let mut named: Vec<(String, u64)> =
            dropped.map(|(index, name)| ((*name).to_owned(), sum(&|counters| &counters.dropped[index]))).collect();
        let mut tell = |name: &str, value| named.push((name.to_owned(), value));
        tell("checks_answered", sum(&|counters| &counters.checks));
        tell("turns", sum(&|counters| &counters.turns));
        tell("forwarded", sum(&|counters| &counters.forwarded));
        tell("malformed_messages", self.malformed);
        tell("unknown_ids", self.unknown);
        tell("frames_unsent", self.unsent);
        tell("threads", self.threads.len() as u64);
        tell("cpu_microseconds", sys::cpu_time() / 1000);
        for (index, each) in self.threads.iter().enumerate() {
            if let Some((worked, waited)) = sys::scheduled(each.counters.thread.get()) {
                tell(&format!("worked_{index}"), worked);
                tell(&format!("waited_{index}"), waited);
            }
        }
        tell("now", sys::now());
        let reply = up::reply(request, 1000 + 60 * self.threads.len()).u16(named.len() as u16);
        reply.each(named, |writer, (name, value)| writer.short(name.as_bytes()).u64(value)).finish()
    }

    pub(super) fn inventory(&self, request: u32) -> Vec<u8> {
        let reply = up::reply(request, 1000).u32(self.ports.len() as u32);
        let reply = reply.each(&self.ports, |writer, (id, port)| match port {
            Port::Shared(hosts) => {
                writer.u32(*id).u8(1).u8(hosts.len() as u8).each(hosts.iter().enumerate(), |writer, (index, host)| {
                    writer.u64(super::ports::path(*id, 0, index)).addr(&host.bound)
                })
            }
            Port::Pair { sockets, bound, .. } => {
                writer.u32(*id).u8(0).u8(2).u64(sockets.rtp_path).addr(&bound.0).u64(sockets.rtcp_path).addr(&bound.1)
            }
        });
        let reply = reply.u32(self.flows.len() as u32);
        let reply = reply.each(&self.flows, |writer, (id, flow)| writer.u32(*id).u32(flow.port));
        // Older gateways read how many records follow, and this plane keeps none.
        reply.u32(0).finish()
    }
}
