//! A queue in memory with the promises of the real one: leases, lanes, nudges. No threads, so that a paused clock rules
//! all there is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::delivery::Backlog;
use crate::mail::{Envelope, Mid, Timestamp};
use crate::queue::{
    Claim, Claimed, Content, Counter, Lane, LaneDue, Leg, LegState, NewContent, NewMessage, QueueError, Settled,
};

#[derive(Clone, Default)]
pub struct Shelf {
    inner: Arc<Mutex<Inner>>,
    some: Arc<Notify>,
    /// What a settlement takes to be written; `None`: the disk is full.
    pub disk: Arc<Mutex<Option<Duration>>>,
}

#[derive(Default)]
struct Inner {
    messages: HashMap<Mid, (Arc<Envelope>, Bytes)>,
    legs: BTreeMap<(Mid, u32), Leg>,
    due: HashMap<Lane, BTreeSet<(Timestamp, Mid, u32)>>,
    leases: HashSet<(Mid, u32)>,
    nudges: HashMap<Lane, Timestamp>,
    counters: HashMap<String, Counter>,
    kept: BTreeMap<String, Vec<u8>>,
    most_leases: usize,
    claims: usize,
    failing_reads: usize,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn accept(&self, message: NewMessage) {
        let NewContent::Memory(content) = message.content else { panic!("content in memory is all there is here") };
        let mut inner = self.lock();
        assert!(inner.messages.insert(message.mid, (Arc::new(message.envelope), content)).is_none());
        for (number, leg) in message.legs.into_iter().enumerate() {
            inner.insert(message.mid, u32::try_from(number).unwrap(), leg);
        }
        self.some.notify_one();
    }

    /// What a kill leaves: no lease outlives the process.
    pub fn after_a_crash(&self) -> Self {
        let mut inner = self.lock();
        inner.leases.clear();
        inner.nudges.clear();
        drop(inner);
        Self { inner: self.inner.clone(), some: Arc::default(), disk: self.disk.clone() }
    }

    pub fn legs(&self) -> Vec<(Mid, Leg)> {
        self.lock().legs.iter().map(|((mid, _), leg)| (*mid, leg.clone())).collect()
    }

    pub fn recipients(&self, wanted: impl Fn(&Leg) -> bool) -> usize {
        self.lock().legs.values().filter(|leg| wanted(leg)).map(|leg| leg.recipients.len()).sum()
    }

    /// Reports in the queue: their envelope, and their text.
    pub fn reports(&self) -> Vec<(Arc<Envelope>, String)> {
        let inner = self.lock();
        let reports = inner.messages.values().filter(|(envelope, _)| envelope.origin.listener == "-");
        reports.map(|(envelope, content)| (envelope.clone(), String::from_utf8_lossy(content).into_owned())).collect()
    }

    pub fn most_leases(&self) -> usize {
        self.lock().most_leases
    }

    pub fn leases(&self) -> usize {
        self.lock().leases.len()
    }

    pub fn claims(&self) -> usize {
        self.lock().claims
    }

    /// Names of what is kept.
    pub fn kept(&self) -> Vec<String> {
        self.lock().kept.keys().cloned().collect()
    }

    pub fn fail_reads(&self, times: usize) {
        self.lock().failing_reads = times;
    }
}

fn ms(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap()
}

impl Inner {
    fn insert(&mut self, mid: Mid, number: u32, mut leg: Leg) {
        assert!(!leg.recipients.is_empty(), "a leg of nobody");
        leg.due = ms(leg.due);
        if leg.state == LegState::Waiting {
            self.due.entry(leg.lane.clone()).or_default().insert((leg.due, mid, number));
            self.nudge(&leg);
        }
        self.legs.insert((mid, number), leg);
    }

    fn nudge(&mut self, leg: &Leg) {
        let first = self.nudges.entry(leg.lane.clone()).or_insert(leg.due);
        *first = leg.due.min(*first);
    }

    fn remove(&mut self, mid: Mid, number: u32) {
        let Some(leg) = self.legs.remove(&(mid, number)) else { return };
        let lane = self.due.get_mut(&leg.lane);
        if let Some(lane) = lane {
            lane.remove(&(leg.due, mid, number));
            if lane.is_empty() {
                self.due.remove(&leg.lane);
            }
        }
    }

    fn claim(&mut self, mid: Mid, number: u32) -> Option<Claim> {
        let leg = self.legs.get(&(mid, number))?.clone();
        if !self.leases.insert((mid, number)) {
            return None;
        }
        self.most_leases = self.most_leases.max(self.leases.len());
        let envelope = self.messages.get(&mid)?.0.clone();
        Some(Claim { mid, number, leg, envelope })
    }

    fn read(&mut self) -> Result<(), QueueError> {
        match self.failing_reads {
            0 => Ok(()),
            _ => {
                self.failing_reads -= 1;
                Err(QueueError::Read { path: "test".into(), detail: "a bad sector".to_owned() })
            }
        }
    }
}

impl Backlog for Shelf {
    async fn lanes(&self) -> Result<Vec<LaneDue>, QueueError> {
        let mut inner = self.lock();
        inner.read()?;
        let first = |lane: &BTreeSet<(Timestamp, Mid, u32)>| lane.first().map(|(due, _, _)| *due);
        Ok(inner
            .due
            .iter()
            .filter_map(|(lane, legs)| Some(LaneDue { lane: lane.clone(), due: first(legs)? }))
            .collect())
    }

    async fn nudged(&self) -> Vec<LaneDue> {
        loop {
            let nudges = std::mem::take(&mut self.lock().nudges);
            if !nudges.is_empty() {
                return nudges.into_iter().map(|(lane, due)| LaneDue { lane, due }).collect();
            }
            self.some.notified().await;
        }
    }

    async fn claim(&self, lane: &Lane, now: Timestamp, most: usize) -> Result<Claimed, QueueError> {
        let mut inner = self.lock();
        inner.read()?;
        inner.claims += 1;
        let mut claims = Vec::new();
        let mut next_due = None;
        // No copy of the backlog: leased ones are at its front, and few.
        let many = most + inner.leases.len() + 1;
        let first: Vec<_> = inner.due.get(lane).into_iter().flatten().take(many).copied().collect();
        for (due, mid, number) in first {
            if inner.leases.contains(&(mid, number)) {
                continue;
            }
            if due > ms(now) || claims.len() >= most {
                next_due = Some(due);
                break;
            }
            claims.extend(inner.claim(mid, number));
        }
        Ok(Claimed { claims, next_due })
    }

    async fn claim_one(&self, mid: Mid, number: u32) -> Result<Option<Claim>, QueueError> {
        Ok(self.lock().claim(mid, number))
    }

    fn release(&self, mid: Mid, number: u32) {
        let mut inner = self.lock();
        assert!(inner.leases.remove(&(mid, number)), "released without a lease");
        if let Some(leg) = inner.legs.get(&(mid, number)).cloned()
            && leg.state == LegState::Waiting
        {
            inner.nudge(&leg);
        }
        drop(inner);
        self.some.notify_one();
    }

    async fn settle(&self, settled: Settled) -> Result<(), QueueError> {
        loop {
            let disk = *self.disk.lock().unwrap();
            match disk {
                Some(Duration::ZERO) => break,
                Some(delay) => {
                    tokio::time::sleep(delay).await;
                    break;
                }
                None => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
        let Settled { mid, number, recipients, legs, notices, counters, note: _ } = settled;
        {
            let mut inner = self.lock();
            assert!(inner.leases.contains(&(mid, number)), "settled without a lease");
            inner.counters.extend(counters);
            let next = inner.legs.range((mid, 0)..=(mid, u32::MAX)).next_back().map_or(0, |((_, last), _)| last + 1);
            let leg = inner.legs.get_mut(&(mid, number)).expect("the leg under lease is there");
            for index in &recipients {
                let before = leg.recipients.len();
                leg.recipients.retain(|recipient| recipient.index != *index);
                assert_eq!(leg.recipients.len() + 1, before, "a recipient is settled once");
            }
            if leg.recipients.is_empty() {
                inner.remove(mid, number);
                inner.leases.remove(&(mid, number));
            }
            for (number, leg) in (next..).zip(legs) {
                inner.insert(mid, number, leg);
            }
            if inner.legs.range((mid, 0)..=(mid, u32::MAX)).next().is_none() {
                inner.messages.remove(&mid);
            }
        }
        for notice in notices {
            self.accept(notice);
        }
        self.some.notify_one();
        Ok(())
    }

    async fn walk(&self, after: Option<(Mid, u32)>, before: Timestamp, most: usize) -> Result<Vec<Claim>, QueueError> {
        let mut inner = self.lock();
        inner.read()?;
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let to = Mid::floor(before);
        if after.is_some_and(|(mid, _)| mid >= to) {
            return Ok(Vec::new());
        }
        let window = inner.legs.range((from, std::ops::Bound::Excluded((to, 0))));
        let free = window.filter(|(id, _)| !inner.leases.contains(id)).take(most);
        Ok(free
            .map(|(&(mid, number), leg)| Claim {
                mid,
                number,
                leg: leg.clone(),
                envelope: inner.messages[&mid].0.clone(),
            })
            .collect())
    }

    fn keep(
        &self,
        name: String,
        record: Vec<u8>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static + use<> {
        let mut inner = self.lock();
        match record.is_empty() {
            true => drop(inner.kept.remove(&name)),
            false => drop(inner.kept.insert(name, record)),
        }
        std::future::ready(Ok(()))
    }

    async fn kept(&self, prefix: &'static str) -> Result<Vec<(String, Vec<u8>)>, QueueError> {
        let inner = self.lock();
        let kept = inner.kept.iter().filter_map(|(name, record)| Some((name.strip_prefix(prefix)?, record.clone())));
        Ok(kept.map(|(name, record)| (name.to_owned(), record)).collect())
    }

    async fn counters(&self) -> Result<HashMap<String, Counter>, QueueError> {
        Ok(self.lock().counters.clone())
    }

    fn content(&self, mid: Mid, envelope: &Envelope) -> Content {
        let content = self.lock().messages.get(&mid).map(|(_, content)| content.clone()).unwrap_or_default();
        Content::memory(content, envelope.header_size as usize)
    }
}
