//! The same on the real queue and the system's clock: what a simulation cannot show is that the two fit together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::script::{Act, Script};
use super::world::CONTENT;
use crate::config::Size;
use crate::delivery::fixtures::{deliver, provider, provider_settings};
use crate::delivery::{Deps, Scheduler, Settings, lane};
use crate::mail::{BodyKind, DsnRequest, Envelope, MidSource, Origin, Recipient};
use crate::os::Clock;
use crate::queue::{Leg, LegRecipient, LegState, NewContent, NewMessage, Orders, Queue, QueueOptions};
use crate::routing::Table;
use crate::transport::Transport;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_queue_is_emptied_across_an_outage_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = QueueOptions {
        path: folder.path().join("queue.redb"),
        min_free: Size(0),
        max_messages: u64::MAX,
        max_size: None,
        cache: 8 << 20,
    };
    let queue = Queue::open(options).unwrap();
    let (clock, mids) = (Clock::system(), Arc::new(MidSource::default()));
    let route = Arc::new(deliver("all", &[&[("a", 1)], &[("b", 1)]]));
    let settings = ["a", "b"].map(|name| Arc::new(provider_settings(name)));
    let table = Arc::new(Table::new(vec![route.clone()], settings.to_vec()));
    // Out from its hundredth attempt on.
    let attempts = std::sync::atomic::AtomicUsize::new(0);
    let a =
        Script::new(move |_, _, index| match (attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed), index) {
            (100.., _) => Act::Out,
            (_, 1) => Act::Refuse,
            _ => Act::Take,
        });
    let b = Script::new(|_, _, index| if index == 1 { Act::Refuse } else { Act::Take });
    let logs = [a.log(), b.log()];
    let transports: HashMap<_, Arc<dyn Transport>> =
        [(provider("a"), Arc::new(a) as Arc<dyn Transport>), (provider("b"), Arc::new(b))].into();
    let start = || {
        let token = CancellationToken::new();
        let scheduler = Scheduler::new(Deps {
            queue: queue.clone(),
            table: table.clone(),
            transports: transports.clone(),
            clock: clock.clone(),
            mids: mids.clone(),
            settings: Settings {
                notes: crate::audit::Notes::new(true),
                hostname: "relay.example".parse().unwrap(),
                retry: vec![Duration::from_millis(200)],
                expire: Duration::from_secs(3600),
                warn_after: None,
                grace: Duration::from_secs(5),
            },
        });
        (tokio::spawn(scheduler.run(token.clone())), token)
    };
    let (mut task, mut token) = start();
    let mut accepted = HashSet::new();
    for n in 0..300u32 {
        let now = clock.now();
        let mid = mids.next(now, u128::from(n));
        let to = ["b0@example.com", "b1@example.com"].map(|to| Recipient::new(to.parse().unwrap()));
        let legs = vec![Leg {
            lane: lane(&table, &route, &to[0].address),
            due: now,
            recipients: vec![LegRecipient { index: 0, last: None }, LegRecipient { index: 1, last: None }],
            attempts: 0,
            passed: Vec::new(),
            state: LegState::Waiting,
            warned: false,
            orders: Orders::default(),
            tried: None,
        }];
        let envelope = Envelope {
            reverse_path: Some("sender@app.example".parse().unwrap()),
            recipients: to.to_vec(),
            dsn: DsnRequest::default(),
            body: BodyKind::SevenBit,
            smtputf8: false,
            origin: Origin { listener: "apps".to_owned(), client: None, helo: None, user: None },
            accepted_at: now,
            header_size: 29,
            size: CONTENT.len() as u64,
        };
        let content = NewContent::Memory(Bytes::from_static(CONTENT));
        queue.accept(NewMessage { mid, envelope, legs, content, note: Vec::new() }).await.unwrap();
        accepted.insert(mid);
        if n == 150 {
            token.cancel();
            task.await.unwrap();
            (task, token) = start();
        }
    }
    let empty = async {
        while queue.depth().await.unwrap().messages > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), empty).await.expect("all of it is delivered or bounced");
    token.cancel();
    task.await.unwrap();
    let taken: Vec<_> = logs.iter().flat_map(|log| log.taken.lock().unwrap().clone()).collect();
    let firsts: Vec<_> = taken.iter().filter(|(_, mid, index)| *index == 0 && accepted.contains(mid)).collect();
    assert_eq!(firsts.len(), 300, "each once");
    assert_eq!(firsts.iter().map(|(_, mid, _)| mid).collect::<HashSet<_>>().len(), 300);
    // The second recipient of each is refused, and its sender told.
    assert_eq!(taken.len() - firsts.len(), 300, "a report each");
    queue.close().await;
}
