//! The folder with a real queue behind it.

use std::path::PathBuf;

use super::*;
use crate::config::{AddressPattern, Limit, MailLimits, Per, Rate, Size};
use crate::ingress::tests::{deps, server};
use crate::queue::Claim;

const MAIL: &str =
    "X-Sender: a@b.example\nX-Receiver: x@y.example\nTo: y@y.example\nBcc: z@y.example\nSubject: hi\n\nbody\n";

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    badmail: PathBuf,
    deps: Arc<Deps>,
    pickup: Pickup,
    token: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self::with(Size(0), |_| ())
    }

    fn with_room(min_free: Size) -> Self {
        Self::with(min_free, |_| ())
    }

    fn with(min_free: Size, set: impl FnOnce(&mut config::Pickup)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = server();
        server.queue.min_free = min_free;
        let deps = Arc::new(deps(folder.path(), &server));
        let (path, badmail) = (folder.path().join("pickup"), folder.path().join("badmail"));
        std::fs::create_dir(&path).unwrap();
        let mut settings = config::Pickup {
            path: path.clone(),
            badmail: badmail.clone(),
            max_message_size: Size(300_000),
            senders: Vec::new(),
            check_from_header: false,
            limits: MailLimits::default(),
        };
        set(&mut settings);
        let pickup = Pickup::new(deps.clone(), settings);
        Self { _folder: folder, path, badmail, deps, pickup, token: CancellationToken::new() }
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path.join(name), text).unwrap();
    }

    /// Looks at what is there, and again when it has settled.
    async fn settle(&mut self) -> Duration {
        self.pickup.round(&self.token).await;
        tokio::time::advance(watch::UNFINISHED).await;
        self.pickup.round(&self.token).await
    }

    async fn legs(&self) -> Vec<Claim> {
        let later = self.deps.clock.now() + jiff::SignedDuration::from_hours(1);
        self.deps.queue.walk(None, later, 100).await.unwrap()
    }

    async fn content(&self) -> String {
        let claim = self.legs().await.remove(0);
        String::from_utf8(self.deps.queue.content(claim.mid, &claim.envelope).all().await.unwrap().to_vec()).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".lock");
        names.sort();
        names
    }

    fn reason(&self, name: &str) -> String {
        std::fs::read_to_string(self.badmail.join(name)).unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_of_unix_lines_is_sent() {
    let mut world = World::new();
    world.put("a.eml", MAIL);
    world.settle().await;
    let content = world.content().await;
    let (ours, own) = content.split_at(content.find("To: y@").unwrap());
    assert_eq!(own, "To: y@y.example\r\nSubject: hi\r\n\r\nbody\r\n");
    assert!(ours.starts_with("Received: by relay.example (waypost, from pickup)\r\n\tid "), "{ours}");
    assert!(ours.contains("\r\n\tfor <x@y.example>;\r\n"), "{ours}");
    let envelope = &world.legs().await[0].envelope;
    assert_eq!(envelope.reverse_path.as_ref().unwrap().to_string(), "a@b.example");
    assert_eq!(envelope.recipients.len(), 1);
    assert_eq!((envelope.origin.listener.as_str(), envelope.origin.client), ("pickup", None));
    assert!(World::names(&world.path).is_empty() && !world.badmail.exists());
}

#[tokio::test(start_paused = true)]
async fn large_files_are_read_in_pieces() {
    let mut world = World::new();
    let body: String = (0..6000).map(|n| format!(".line {n} of a file that is large\n")).collect();
    world.put("a.eml", format!("From: a@b.example\nTo: x@y.example\n\n{body}"));
    world.settle().await;
    assert!(world.content().await.ends_with(&format!("\r\n\r\n{}", body.replace('\n', "\r\n"))));
}

#[tokio::test(start_paused = true)]
async fn bad_files_are_put_aside_with_the_reason() {
    let mut world = World::new();
    for (name, text, reason) in [
        ("mixed", "From: a@b.example\nTo: x@y.example\n\nx\r\n.\r\nMAIL\n".to_owned(), "more than one way"),
        ("lost", "From: a@b.example\nTo: nobody@y.example\n\n".to_owned(), "550 5.7.1 No route takes mail"),
        ("refused", "From: a@b.example\nTo: refused@y.example\n\n".to_owned(), "550 5.7.2 not here"),
        ("nobody", "From: a@b.example\n\nhello\n".to_owned(), "no recipient"),
        ("blank", "hello\n".to_owned(), "no sender"),
        ("empty", String::new(), "no sender"),
        ("large", format!("From: a@b.example\nTo: x@y.example\n\n{}", "x\n".repeat(200_000)), "larger than the 300000"),
        ("grown", format!("From: a@b.example\nTo: x@y.example\n\n{}", "\n".repeat(200_000)), "larger than the 300000"),
        ("header", format!("From: a@b.example\nA: {}\n", "x".repeat(290_000)), "no recipient"),
    ] {
        world.put(&format!("{name}.eml"), &text);
        world.settle().await;
        let told = world.reason(&format!("{name}.reason.txt"));
        assert!(told.contains(reason) && told.contains("move it back"), "{name}: {told}");
        assert_eq!(std::fs::read_to_string(world.badmail.join(format!("{name}.eml"))).unwrap(), text);
    }
    assert!(World::names(&world.path).is_empty());
    assert!(world.legs().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_waited_for() {
    let mut world = World::new();
    world.put("a.eml", "From: a@b.example\nTo: x@y.exam");
    for _ in 0..10 {
        world.pickup.round(&world.token).await;
        tokio::time::advance(POLL).await;
    }
    assert_eq!(World::names(&world.path), ["a.eml"], "its last line has no end");
    world.put("a.eml", "From: a@b.example\nTo: x@y.example\n\nhello\n");
    world.put(".b.eml", MAIL);
    world.put("c.tmp", MAIL);
    world.settle().await;
    assert!(world.content().await.ends_with("hello\r\n"));
    assert_eq!(World::names(&world.path), [".b.eml", "c.tmp"], "these were never offered");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_waited_for() {
    // More than any disk has.
    let mut world = World::with_room(Size(u64::MAX / 2));
    world.put("a.eml", MAIL);
    assert_eq!(world.settle().await, PAUSE);
    let names = World::names(&world.path);
    assert!(names.len() == 1 && names[0].ends_with(".a.eml.taken"), "{names:?}");
    assert!(world.legs().await.is_empty() && !world.badmail.exists());
    // The same file, and a queue with room: as after a restart.
    let mut next = World::new();
    std::fs::rename(world.path.join(&names[0]), next.path.join(&names[0])).unwrap();
    next.pickup.recover().await;
    next.pickup.round(&next.token).await;
    assert_eq!(next.legs().await.len(), 1);
    assert!(World::names(&next.path).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_is_not_sent_twice() {
    let mut world = World::new();
    world.put("a.eml", MAIL);
    world.settle().await;
    let mid = world.legs().await[0].mid;
    // As if the relay had died between the queue's word and the removal.
    world.put(&format!(".{mid}.a.eml.taken"), MAIL);
    world.pickup.recover().await;
    assert!(World::names(&world.path).is_empty());
    assert_eq!(world.legs().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_files_are_sent() {
    let mut world = World::new();
    for n in 0..1500 {
        world.put(&format!("{n}.eml"), format!("From: a@b.example\nTo: gone@y.example\n\n{n}\n"));
    }
    world.put("last.eml", MAIL);
    world.settle().await;
    assert!(World::names(&world.path).is_empty());
    assert_eq!(world.legs().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_when_the_folder_is_mended() {
    let mut world = World::new();
    std::fs::remove_dir_all(&world.path).unwrap();
    std::fs::write(&world.path, "in the way").unwrap();
    assert_eq!(world.settle().await, PAUSE);
    assert!(matches!(world.pickup.trouble, Some(Trouble::Reading(_))), "{:?}", world.pickup.trouble);
    std::fs::remove_file(&world.path).unwrap();
    assert_eq!(world.settle().await, POLL);
    assert_eq!(world.pickup.trouble, None);
    world.put("a.eml", MAIL);
    world.settle().await;
    assert_eq!(world.legs().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_relay_is_kept_out() {
    let mut world = World::new();
    world.settle().await;
    let mut second = Pickup::new(world.deps.clone(), (*world.pickup.settings).clone());
    assert_eq!(second.round(&world.token).await, PAUSE);
    match &second.trouble {
        Some(Trouble::Reading(why)) => assert!(why.contains("another waypost"), "{why}"),
        other => panic!("{other:?}"),
    }
    drop(world.pickup);
    assert_eq!(second.round(&world.token).await, POLL);
}

#[tokio::test(start_paused = true)]
async fn the_folder_is_held_to_its_senders() {
    let mut world = World::with(Size(0), |settings| {
        settings.senders = vec![AddressPattern::parse("*@shop.example").unwrap()];
        settings.check_from_header = true;
    });
    for (name, text, reason) in [
        ("good", "X-Sender: a@shop.example\nX-Receiver: x@y.example\nFrom: a@shop.example\n\n", ""),
        (
            "envelope",
            "X-Sender: boss@corp.example\nX-Receiver: x@y.example\nFrom: a@shop.example\n\n",
            "The pickup folder may not send as boss@corp.example",
        ),
        (
            "header",
            "X-Sender: a@shop.example\nX-Receiver: x@y.example\nFrom: boss@corp.example\n\n",
            "550 5.7.1 The pickup folder may not send as boss@corp.example, which the header's From names",
        ),
    ] {
        world.put(&format!("{name}.eml"), text);
        world.settle().await;
        let told = world.reason(&format!("{name}.reason.txt"));
        assert!(told.contains(reason) && told.is_empty() == reason.is_empty(), "{name}: {told}");
    }
    assert_eq!(world.legs().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_rate_files_wait() {
    let minute = Rate { count: 3, span: Duration::from_secs(60) };
    let mut world = World::with(Size(0), |settings| {
        settings.limits.messages = Some(Limit { rate: minute, burst: 2, per: Per::Message });
    });
    for n in 0..4 {
        world.put(&format!("{n}.eml"), MAIL);
    }
    world.settle().await;
    assert_eq!((world.legs().await.len(), World::names(&world.path)), (2, vec!["2.eml".into(), "3.eml".into()]));
    tokio::time::advance(Duration::from_secs(20)).await;
    world.pickup.round(&world.token).await;
    assert_eq!((world.legs().await.len(), World::names(&world.path)), (3, vec!["3.eml".into()]));
    assert!(!world.badmail.exists());
}
