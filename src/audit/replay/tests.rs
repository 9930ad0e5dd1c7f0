//! Pages of blocks, and the mail in them.

use super::*;
use crate::audit::record::{Accepted, Discarded, Routed};
use crate::audit::{Keeper, KeeperOptions, note};
use crate::config::Size;
use crate::mail::Mid;
use crate::os::Clock;
use crate::queue::{Follower, Position};

const START: i64 = 1_700_000_000_000;

/// A message a second, with three recipients; every tenth is thrown away.
fn record(n: u32) -> Vec<u8> {
    let recipients: Vec<String> = (0..3).map(|r| format!("r{r}@c{n}.example")).collect();
    let message = Message {
        listener: "apps".into(),
        sender: Some("News@shop.example".into()),
        recipients: recipients.iter().map(|recipient| recipient.as_str().into()).collect(),
        size: 1000,
        ..Message::default()
    };
    let what = if n.is_multiple_of(10) {
        What::Discarded(Discarded { message, revision: "1".into(), routes: vec!["gone".into()] })
    } else {
        let routed =
            |route: &'static str, recipients| Routed { route: route.into(), destination: None, recipients, held: None };
        let routed = vec![routed("one", vec![0]), routed("two", vec![2])];
        What::Accepted(Accepted { message, revision: "1".into(), routed })
    };
    let at = at(START + i64::from(n) * 1000);
    note(&Record::new(at, Some(Mid::new(at, u128::from(n))), what), 256)
}

fn kept(folder: &Path, count: u32, hashed: bool) -> Trail {
    let options = KeeperOptions {
        path: folder.join("audit.redb"),
        keep: std::time::Duration::from_secs(90 * 86_400),
        max_size: Size(1 << 30),
        hashed,
    };
    let (mut keeper, trail) = Keeper::open(options, Clock::following_tokio(at(START))).unwrap();
    keeper.begin(None);
    for n in 1..=count {
        keeper.take(&[record(n)], Position::from_parts(1, u64::from(n) * 1000, u64::from(n) + 2));
    }
    keeper.keep().unwrap();
    trail
}

fn read(trail: &Trail, since: Timestamp, most: usize) -> (Mails, Vec<String>, usize) {
    let (mut mails, mut seen, mut after, mut pages) = (Mails::since(since), Vec::new(), None, 0);
    loop {
        let page = trail.blocks(since, after, most).unwrap();
        let next = mails.read(&page, |past| {
            let sender = past.sender.map(|name| name.text).unwrap_or_default();
            seen.push(format!("{sender} {} {}", past.recipient.text, past.taken.unwrap_or("?")));
        });
        let Some(next) = next.unwrap() else { return (mails, seen, pages) };
        (after, pages) = (Some(next), pages + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_have_each_recipient_once_with_the_route_that_took_it() {
    let folder = tempfile::tempdir().unwrap();
    let trail = kept(folder.path(), 5000, false);
    let (mails, all, pages) = read(&trail, at(0), usize::MAX);
    assert_eq!((mails.messages, all.len(), pages, mails.unreadable), (5000, 15_000, 1, 0));
    assert_eq!(mails.ends(), Some(at(START + 5_000_000)));
    assert_eq!(
        &all[..3],
        ["r0@c1.example one", "r1@c1.example ?", "r2@c1.example two"].map(|one| format!("News@shop.example {one}"))
    );
    assert_eq!(all[28], "News@shop.example r1@c10.example gone");
    let (_, small, pages) = read(&trail, at(0), 1);
    assert!(pages > 5 && small == all, "{pages}");
    // From the middle of a block on; all of it is asked for, and the trail has it.
    let since = START + 2_500_500;
    let (mails, half, _) = read(&trail, at(since), 1);
    assert_eq!((mails.messages, half.as_slice()), (2500, &all[7500..]));
    assert_eq!(mails.begins_late(), None);
    // Behind the end, and before the beginning.
    let (mails, none, _) = read(&trail, at(START + 9_000_000), 1);
    assert_eq!((mails.messages, none.len(), mails.ends()), (0, 0, Some(at(START + 5_000_000))));
    let (mails, _, _) = read(&trail, at(START - 7 * 86_400_000), usize::MAX);
    assert_eq!(mails.begins_late(), Some(at(START)));
}

#[tokio::test(start_paused = true)]
async fn hashed_names_are_known_as_such_and_the_key_tells_them() {
    let folder = tempfile::tempdir().unwrap();
    let trail = kept(folder.path(), 20, true);
    let mut hashes = Vec::new();
    let mut mails = Mails::since(at(0));
    mails
        .read(&trail.blocks(at(0), None, 1).unwrap(), |past| {
            assert!(past.recipient.hashed && past.sender.unwrap().hashed, "{past:?}");
            hashes.push(past.sender.unwrap().text.to_owned());
        })
        .unwrap();
    let key = Key::beside(trail.path()).unwrap();
    for _ in 0..2 {
        assert_eq!(key.is(&hashes[0], "news@shop.example"), Some(true));
        assert_eq!(key.is(&hashes[0], "news@other.example"), Some(false));
    }
    std::fs::remove_file(key_path(trail.path())).unwrap();
    assert_eq!(Key::beside(trail.path()).unwrap().is(&hashes[0], "news@shop.example"), None);
    std::fs::write(key_path(trail.path()), "short").unwrap();
    assert!(Key::beside(trail.path()).unwrap_err().to_string().contains("put the right one back"));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_cut_or_altered_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let page = kept(folder.path(), 50, false).blocks(at(0), None, 1).unwrap();
    let read = |page: &[u8]| Mails::since(at(0)).read(page, |_| {});
    for cut in [0, 1, 9, 17, 19, 21, 100, page.len() - 1] {
        assert_eq!(read(&page[..cut]), Err(PageError::Page), "{cut}");
    }
    assert_eq!(read(&page[..8]), Ok(None), "a page without blocks");
    let mut other = page.clone();
    other[20] = 9;
    assert_eq!(read(&other), Err(PageError::Block(1)), "a block of another form");
}
