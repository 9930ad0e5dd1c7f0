//! What is counted while the relay runs: counters, gauges and spreads that cost an atomic addition and no lock, and families of
//! them by name. Whoever counts keeps the `Arc`; whoever looks (`admin`) walks through the family.
//!
//! Names come from the configuration alone, so that a family is bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more, until what this gives is dropped.
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(Arc::clone(self))
    }

    pub fn get(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// One of what a gauge counts.
#[derive(Debug)]
pub struct Entered(Arc<Gauge>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long things took, sorted into buckets.
#[derive(Debug)]
pub struct Spread {
    /// Upper ends in microseconds, ascending; what is longer is in the last bucket, which has no end.
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    /// Microseconds.
    sum: AtomicU64,
}

/// A spread at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SpreadNow {
    /// Upper end in seconds, and how many took no longer; the last is of all.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    /// Seconds.
    pub sum: f64,
}

impl Spread {
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < micros);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn now(&self) -> SpreadNow {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.counts.len());
        let ends = self.bounds.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        for (end, bucket) in ends.zip(&self.counts) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((end, count));
        }
        SpreadNow { buckets, count, sum: self.sum.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

/// The same thing of each name.
#[derive(Debug)]
pub struct Family<K, V>(Mutex<BTreeMap<K, Arc<V>>>);

impl<K, V> Default for Family<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone, V: Default> Family<K, V> {
    pub fn of(&self, name: &K) -> Arc<V> {
        let mut all = lock(&self.0);
        if let Some(known) = all.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(all.entry(name.clone()).or_default())
    }

    pub fn all(&self) -> Vec<(K, Arc<V>)> {
        lock(&self.0).iter().map(|(name, value)| (name.clone(), Arc::clone(value))).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bucket_ends_is_in_it() {
        let spread = Spread::new(&[1_000, 10_000]);
        for micros in [0, 1_000, 1_001, 10_000, 10_001, u64::MAX / 4] {
            spread.observe(Duration::from_micros(micros));
        }
        let now = spread.now();
        assert_eq!(now.buckets, [(0.001, 2), (0.01, 4), (f64::INFINITY, 6)]);
        assert_eq!(now.count, 6);
    }

    #[test]
    fn a_gauge_falls_when_what_it_counts_goes() {
        let gauge = Arc::new(Gauge::default());
        let (one, two) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.get(), 2);
        drop(one);
        drop(two);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_name_has_one_value() {
        let family: Family<String, Counter> = Family::default();
        family.of(&"a".to_owned()).add(2);
        family.of(&"a".to_owned()).add(3);
        family.of(&"b".to_owned()).add(1);
        let all: Vec<_> = family.all().into_iter().map(|(name, counter)| (name, counter.get())).collect();
        assert_eq!(all, [("a".to_owned(), 5), ("b".to_owned(), 1)]);
    }
}
