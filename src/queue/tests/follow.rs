//! Whoever follows the journal has each note once, in order: on a disk that fails, and when the power goes.

use std::ops::Range;

use super::disk::Disk;
use super::*;

/// A follower whose file lies on the disk as well.
pub(super) struct Reader {
    disk: Disk,
    generation: u64,
    taken: Vec<String>,
    position: Option<Position>,
}

impl Reader {
    pub(super) fn on(disk: &Disk) -> Self {
        let position = disk.followed(|kept| kept.position);
        Self { disk: disk.clone(), generation: disk.generation(), taken: Vec::new(), position }
    }
}

impl Follower for Reader {
    fn position(&self) -> Option<Position> {
        self.position
    }
    fn begin(&mut self, mark: Option<&[u8]>) {
        let there = self.disk.followed(|kept| kept.notes.len());
        let marked = mark.map_or(0, |mark| String::from_utf8_lossy(mark).parse().unwrap());
        assert!(there >= marked, "the queue knows of {marked} notes, and there are {there}");
    }
    fn take(&mut self, notes: &[Vec<u8>], next: Position) {
        self.taken.extend(notes.iter().map(|note| String::from_utf8(note.clone()).unwrap()));
        self.position = Some(next);
    }
    fn holds(&self) -> usize {
        self.taken.len()
    }
    fn keep(&mut self) -> Result<Vec<u8>, String> {
        self.disk.keep(self.generation, &mut self.taken, self.position).map_err(|error| error.to_string())?;
        Ok(self.disk.followed(|kept| kept.notes.len()).to_string().into_bytes())
    }
    fn reopen(&mut self) -> Result<(), String> {
        self.taken.clear();
        self.position = self.disk.followed(|kept| kept.position);
        Ok(())
    }
    fn missed(&mut self, groups: Range<u64>, why: &str) {
        self.taken.push(format!("missed {groups:?}: {why}"));
    }
}

fn notes(disk: &Disk) -> Vec<String> {
    disk.followed(|kept| kept.notes.clone())
}

/// Each note is there once, and each message's acceptance before its settlement.
pub(super) fn each_once(disk: &Disk, seed: u64) {
    let notes = notes(disk);
    let mut seen = std::collections::HashSet::new();
    for note in &notes {
        assert!(!note.starts_with("missed"), "seed {seed}: {note}");
        assert!(seen.insert(note.as_str()), "seed {seed}: {note} twice");
        if let Some(n) = note.strip_prefix("settled ") {
            assert!(seen.contains(&*format!("accepted {n}")), "seed {seed}: {note} before its acceptance");
        }
    }
}

#[tokio::test]
async fn notes_come_in_the_order_of_the_journal() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    let mut expected = Vec::new();
    for n in 1..=50 {
        queue.accept(message(n, 100, vec![leg("a", 0, &[0])])).await.unwrap();
        expected.push(format!("accepted {n}"));
        if n % 5 == 0 {
            queue.note(format!("a word of its own {n}").into_bytes()).await.unwrap();
            expected.push(format!("a word of its own {n}"));
        }
        if n % 2 == 0 {
            let claim = queue.claim_one(mid(n), 0).await.unwrap().unwrap();
            queue.settle(done(&claim)).await.unwrap();
            expected.push(format!("settled {n}"));
        }
    }
    queue.followed_up().await.unwrap();
    assert_eq!(notes(&disk), expected);
    queue.close().await;
    assert_eq!(queue.followed_up().await, Err("the queue has been closed".to_owned()));
    let queue = on(&disk).unwrap();
    queue.followed_up().await.unwrap();
    assert_eq!(notes(&disk), expected, "a start takes nothing twice");
    queue.close().await;
}

#[tokio::test]
async fn a_follower_that_fails_holds_nobody_up_and_lacks_nothing_later() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    queue.followed_up().await.unwrap();
    disk.followed(|kept| kept.fails = u64::MAX);
    let mut expected = Vec::new();
    for n in 1..=300 {
        queue.accept(message(n, 40_000, vec![leg("a", 0, &[0])])).await.unwrap();
        let claim = queue.claim_one(mid(n), 0).await.unwrap().unwrap();
        queue.settle(done(&claim)).await.unwrap();
        expected.extend([format!("accepted {n}"), format!("settled {n}")]);
        if n % 100 == 0 {
            assert_eq!(queue.followed_up().await, Err("the follower's disk is gone".to_owned()));
        }
    }
    assert_eq!(queue.follower_fails(), Some("the follower's disk is gone".to_owned()));
    assert!(notes(&disk).is_empty());
    assert!(disk.octets() > 300 * 40_000, "the journal keeps what the follower lacks");
    disk.followed(|kept| kept.fails = 3);
    while queue.followed_up().await.is_err() {}
    assert_eq!(queue.follower_fails(), None);
    assert_eq!(notes(&disk), expected);
    queue.close().await;
}

#[tokio::test]
async fn what_a_follower_lacks_at_the_end_the_next_start_brings() {
    let disk = Disk::default();
    let queue = on(&disk).unwrap();
    disk.followed(|kept| kept.fails = u64::MAX);
    for n in 1..=20 {
        queue.accept(message(n, 100, vec![leg("a", 0, &[0])])).await.unwrap();
    }
    queue.close().await;
    assert!(notes(&disk).is_empty());
    disk.followed(|kept| kept.fails = 0);
    let queue = on(&disk).unwrap();
    queue.followed_up().await.unwrap();
    assert_eq!(notes(&disk), (1..=20).map(|n| format!("accepted {n}")).collect::<Vec<_>>());
    queue.close().await;
}

#[tokio::test]
async fn a_follower_of_another_queue_begins_with_this_one() {
    let disk = Disk::default();
    let far = Position::from_parts(9, 4000, 77_000);
    disk.followed(|kept| kept.position = Some(far));
    let queue = on(&disk).unwrap();
    queue.accept(message(1, 100, vec![leg("a", 0, &[0])])).await.unwrap();
    queue.followed_up().await.unwrap();
    assert_eq!(notes(&disk), ["missed 1..1: it followed another queue before", "accepted 1"]);
    queue.close().await;
}

/// A follower that was away while the journal went on, and was tidied.
#[tokio::test]
async fn what_the_journal_has_no_more_is_told_as_missed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let path = folder.path().join("queue.redb");
    let open = |follows: bool| {
        let reader = || Box::new(Reader::on(&disk)) as Box<dyn Follower>;
        Queue::open_followed(options(path.clone()), follows.then(reader)).unwrap()
    };
    disk.attach();
    let queue = open(true);
    queue.accept(message(1, 100, vec![held("a", &[0])])).await.unwrap();
    queue.close().await;
    // Two segments without it.
    for n in [2, 3] {
        let queue = open(false);
        queue.accept(message(n, 100, vec![leg("a", 0, &[0])])).await.unwrap();
        let claim = queue.claim_one(mid(n), 0).await.unwrap().unwrap();
        queue.settle(done(&claim)).await.unwrap();
        queue.close().await;
    }
    for name in std::fs::read_dir(folder.path().join("queue.journal")).unwrap() {
        let name = name.unwrap();
        if name.file_name() == "0000000002.journal" {
            std::fs::remove_file(name.path()).unwrap();
        }
    }
    let queue = open(true);
    queue.accept(message(4, 100, vec![leg("a", 0, &[0])])).await.unwrap();
    queue.followed_up().await.unwrap();
    let notes = notes(&disk);
    assert_eq!(notes[0], "accepted 1");
    assert!(notes[1].starts_with("missed 2.."), "{notes:?}");
    assert_eq!(notes.last().unwrap(), "accepted 4");
    queue.close().await;
}
