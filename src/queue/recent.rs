//! Messages that were just accepted, kept in memory within a bound: their first attempt reads neither envelope nor content
//! from the disk. Only what the journal has made durable gets in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lease::lock;
use crate::mail::{Envelope, Mid};

/// Octets kept in all.
const MOST: usize = 16 << 20;
/// What an entry costs beside its content.
const ENTRY: usize = 1024;

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) envelope: Arc<Envelope>,
    pub(super) content: Bytes,
}

impl Message {
    fn octets(&self) -> usize {
        self.content.len() + ENTRY + 128 * self.envelope.recipients.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    messages: HashMap<Mid, Message>,
    /// Oldest first; may name messages that are gone.
    order: VecDeque<Mid>,
    octets: usize,
}

impl Kept {
    fn remove(&mut self, mid: Mid) {
        if let Some(message) = self.messages.remove(&mid) {
            self.octets -= message.octets();
        }
    }
}

impl Recent {
    pub(super) fn keep(&self, mid: Mid, message: Message) {
        let mut kept = lock(&self.0);
        let octets = message.octets();
        if octets > MOST {
            return;
        }
        kept.remove(mid);
        while kept.octets + octets > MOST {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.remove(oldest);
        }
        if kept.order.len() > 2 * kept.messages.len() + 1024 {
            let Kept { messages, order, .. } = &mut *kept;
            order.retain(|mid| messages.contains_key(mid));
        }
        kept.octets += octets;
        kept.order.push_back(mid);
        kept.messages.insert(mid, message);
    }

    pub(super) fn find(&self, mid: Mid) -> Option<Message> {
        lock(&self.0).messages.get(&mid).cloned()
    }

    pub(super) fn forget(&self, mid: Mid) {
        lock(&self.0).remove(mid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::envelope;

    #[test]
    fn the_oldest_make_room() {
        let recent = Recent::default();
        let mid = |n| Mid::from_bits(n);
        for n in 0..600 {
            let content = Bytes::from(vec![0; 60_000]);
            recent.keep(mid(n), Message { envelope: Arc::new(envelope(60_000, 0, 1)), content });
            if n % 3 == 0 {
                recent.forget(mid(n));
            }
        }
        assert!(lock(&recent.0).octets <= MOST);
        for _ in 0..5000 {
            recent.keep(mid(1000), Message { envelope: Arc::new(envelope(0, 0, 1)), content: Bytes::new() });
            recent.forget(mid(1000));
        }
        assert!(lock(&recent.0).order.len() < 4096, "names of the gone do not pile up");
        for n in 0..600 {
            recent.forget(mid(n));
        }
        assert_eq!(lock(&recent.0).octets, 0);
        assert!(recent.find(mid(599)).is_none());
    }
}
