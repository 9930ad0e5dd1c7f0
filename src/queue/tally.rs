//! How many legs wait and are held, by route, and since when: kept by the transactions of the index that put legs in and take
//! them out, so that nobody counts a million rows, and that it is right after any crash.
//!
//! A row is a route, a state, and a span of `SPAN` in which its messages were accepted; the value is how many legs it has. So
//! the oldest of a route is known to `SPAN`, whatever became of its due time, and a batch writes a few rows however many legs
//! it moves. A look at the first legs of that span mostly knows it to the millisecond (`sharpen`).

use std::collections::{BTreeMap, HashMap};

use jiff::SignedDuration;
use redb::{Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, Table, TableDefinition};

use super::error::Fault;
use super::store::{Keep, begin_write};
use super::tables::{DUE, JOURNAL, LEGS, LegKey, META, lane_of, leg_of};
use super::{LegState, RouteDepth};
use crate::mail::{Mid, RouteName, Timestamp};

/// Route, state, the span's begin (seconds).
pub(super) type TallyKey = (&'static str, u8, i64);
pub(super) const TALLY: TableDefinition<'_, TallyKey, u64> = TableDefinition::new("tally");
/// The key in `meta` of the group up to which the tally was kept: another release may have gone on without it.
const KEPT_KEY: &str = "tally";
/// Seconds.
const SPAN: i64 = 10;
/// Legs that are looked at, for all routes together, to know the oldest better than to `SPAN`.
const LOOKED_AT: usize = 512;

const WAITING: u8 = 0;
const HELD: u8 = 1;

/// What a batch changes.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<(RouteName, u8, i64), i64>);

impl Changes {
    pub(super) fn add(&mut self, route: &RouteName, waiting: bool, mid: Mid) {
        *self.row(route, waiting, mid) += 1;
    }

    pub(super) fn remove(&mut self, route: &RouteName, waiting: bool, mid: Mid) {
        *self.row(route, waiting, mid) -= 1;
    }

    fn row(&mut self, route: &RouteName, waiting: bool, mid: Mid) -> &mut i64 {
        let state = if waiting { WAITING } else { HELD };
        self.0.entry((route.clone(), state, span_of(mid))).or_default()
    }

    /// Writes them, behind the group `reached`.
    pub(super) fn write(
        &mut self,
        table: &mut Table<'_, TallyKey, u64>,
        meta: &mut Table<'_, &'static str, u64>,
        reached: u64,
    ) -> Result<(), Fault> {
        for ((route, state, span), change) in self.0.drain().filter(|(_, change)| *change != 0) {
            let key = (route.as_str(), state, span);
            let before = table.get(key)?.map_or(0, |count| count.value());
            match before.saturating_add_signed(change) {
                0 => drop(table.remove(key)?),
                count => drop(table.insert(key, count)?),
            }
        }
        meta.insert(KEPT_KEY, reached)?;
        Ok(())
    }
}

fn span_of(mid: Mid) -> i64 {
    mid.accepted_at().as_second().div_euclid(SPAN) * SPAN
}

/// Counts all legs once where the tally was not kept up to what the index has.
pub(super) fn mend(database: &Database) -> Result<(), Fault> {
    let txn = database.begin_read()?;
    let reached = txn.open_table(JOURNAL)?.get(())?.map_or(0, |row| row.value().2);
    if txn.open_table(META)?.get(KEPT_KEY)?.map_or(0, |kept| kept.value()) == reached {
        return Ok(());
    }
    let mut changes = Changes::default();
    let due = txn.open_table(DUE)?;
    for row in due.iter()? {
        let (key, _) = row?;
        let (lane, _, mid, _) = key.value();
        changes.add(&lane_of(lane)?.route, true, Mid::from_bits(mid));
    }
    let legs = txn.open_table(LEGS)?;
    if legs.len()? > due.len()? {
        for row in legs.iter()? {
            let (key, record) = row?;
            // One that cannot be read is told where it is to be delivered.
            if let Ok(leg) = leg_of(record.value())
                && matches!(leg.state, LegState::Held { .. })
            {
                changes.add(&leg.lane.route, false, Mid::from_bits(key.value().0));
            }
        }
    }
    drop((due, legs, txn));
    let txn = begin_write(database, Keep::Durable)?;
    {
        let mut table = txn.open_table(TALLY)?;
        table.retain(|_, _| false)?;
        changes.write(&mut table, &mut txn.open_table(META)?, reached)?;
    }
    Ok(txn.commit()?)
}

/// What waits and is held, route by route.
pub(super) fn read(table: &impl ReadableTable<TallyKey, u64>) -> Result<Vec<RouteDepth>, Fault> {
    let mut routes: Vec<RouteDepth> = Vec::new();
    for row in table.iter()? {
        let (key, count) = row?;
        let ((route, state, span), count) = (key.value(), count.value());
        if routes.last().is_none_or(|last| last.route.as_str() != route) {
            routes.push(RouteDepth { route: RouteName::new(route), waiting: 0, held: 0, oldest: None });
        }
        let Some(last) = routes.last_mut() else { continue };
        if state == WAITING {
            last.waiting += count;
            let since = Timestamp::from_second(span).unwrap_or(Timestamp::UNIX_EPOCH);
            last.oldest = Some(last.oldest.map_or(since, |oldest| oldest.min(since)));
        } else {
            last.held += count;
        }
    }
    Ok(routes)
}

/// Puts the time of the oldest leg in the place of its span's begin, for each route whose oldest is soon found.
pub(super) fn sharpen(
    routes: &mut [RouteDepth],
    legs: &impl ReadableTable<LegKey, &'static [u8]>,
) -> Result<(), Fault> {
    let mut spans: BTreeMap<Timestamp, Vec<&mut RouteDepth>> = BTreeMap::new();
    for route in routes {
        if let Some(span) = route.oldest {
            spans.entry(span).or_default().push(route);
        }
    }
    let mut left = LOOKED_AT;
    for (span, mut routes) in spans {
        let end = span.saturating_add(SignedDuration::from_secs(SPAN)).unwrap_or(Timestamp::MAX);
        for row in legs.range((Mid::floor(span).bits(), 0)..(Mid::floor(end).bits(), 0))? {
            if left == 0 || routes.is_empty() {
                break;
            }
            left -= 1;
            let (key, record) = row?;
            // One that cannot be read is told where it is to be delivered.
            let Ok(leg) = leg_of(record.value()) else { continue };
            let of = routes.iter().position(|route| route.route == leg.lane.route);
            if let (LegState::Waiting, Some(of)) = (leg.state, of) {
                routes.swap_remove(of).oldest = Some(Mid::from_bits(key.value().0).accepted_at());
            }
        }
    }
    Ok(())
}
