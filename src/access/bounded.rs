//! A map that forgets: each entry has its end, and there are never more than so many.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    entries: HashMap<K, (V, Instant)>,
    most: usize,
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    pub fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), most }
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|(_, end)| *end > now).map(|(value, _)| value)
    }

    /// Where it is full, what has ended goes; where nothing has, the tenth that would end first.
    pub fn put(&mut self, key: K, value: V, end: Instant, now: Instant) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.entries.retain(|_, (_, end)| *end > now);
            if self.entries.len() >= self.most {
                let mut ends: Vec<(Instant, K)> =
                    self.entries.iter().map(|(key, (_, end))| (*end, key.clone())).collect();
                let tenth = (self.most / 10).clamp(1, ends.len());
                ends.select_nth_unstable_by_key(tenth - 1, |(end, _)| *end);
                for (_, key) in ends.drain(..tenth) {
                    self.entries.remove(&key);
                }
            }
        }
        self.entries.insert(key, (value, end));
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_forgets_what_has_ended_and_then_what_ends_first() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_secs(n);
        let mut map = Bounded::new(20);
        for n in 0..20_u64 {
            map.put(n, n, at(100 + n), start);
        }
        assert_eq!((map.get(&0, at(99)), map.get(&0, at(100))), (Some(&0), None));
        // An entry that is there already needs no room.
        map.put(5, 50, at(500), start);
        assert_eq!(map.len(), 20);
        map.put(20, 20, at(900), start);
        assert_eq!((map.len(), map.get(&0, start), map.get(&1, start), map.get(&2, start)), (19, None, None, Some(&2)));
        map.put(21, 21, at(900), start);
        map.put(22, 22, at(900), at(300));
        assert_eq!(map.len(), 4, "5, 20, 21, 22");
        for n in 0..10_000 {
            map.put(n, n, at(1000), start);
            assert!(map.len() <= 20);
        }
    }
}
