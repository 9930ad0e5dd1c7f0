//! Whom the verbs ask: the running relay by its admin server, or the queue's files where nobody has them open.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use crate::admin::ImportAnswer;
use crate::alerts;
use crate::app;
use crate::cli::remote::Remote;
use crate::cli::usage::OrUsage as _;
use crate::cli::{load, log};
use crate::config::Config;
use crate::delivery::Settings;
use crate::delivery::operate::{ActAnswer, ActRequest, By, Count, Filter, Message, Offline, Operator, Page};
use crate::ingress;
use crate::mail::{MidSource, Timestamp};
use crate::os::{self, Clock};
use crate::queue::Queue;

pub enum Ask {
    There(Box<Remote>),
    Here(Box<Here>),
}

/// The queue's files, open in this process.
pub struct Here {
    runtime: tokio::runtime::Runtime,
    operator: Operator,
    who: String,
    _log: Option<log::Log>,
}

impl Ask {
    /// `changes`: something is to be done to it, not only looked at.
    pub fn find(directory: Option<&Path>, changes: bool) -> anyhow::Result<Self> {
        let server = load::to_steer(directory)?;
        let path = &server.queue.path;
        if !path.exists() {
            // Perhaps the relay runs on another host.
            return match Remote::find(directory) {
                Ok(remote) => Ok(Self::There(Box::new(remote))),
                Err(_) => bail!("there is no queue at {}: no relay has run with this configuration", path.display()),
            };
        }
        if changes && let Some(owner) = os::other_owner(path) {
            // What is written as somebody else, the relay could not read any more.
            let remote =
                Remote::find(directory).and_then(|remote| remote.get::<serde_json::Value>("/status").map(|_| remote));
            return match remote {
                Ok(remote) => Ok(Self::There(Box::new(remote))),
                Err(error) => bail!(
                    "the queue {} belongs to {owner}: run this as that user (sudo -u {owner} waypost queue ...); \
                     the relay cannot be asked either: {error:#}",
                    path.display()
                ),
            };
        }
        match app::open_queue(&server, None) {
            Ok((queue, _)) => Ok(Self::Here(Box::new(Here::new(load::to_send(directory)?, queue, changes)?))),
            Err(error) if error.is_in_use() => {
                let asked = Remote::find(directory);
                Ok(Self::There(Box::new(asked.with_context(|| running(path))?)))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn list(&self, filter: &Filter, after: Option<&str>, most: usize) -> anyhow::Result<Page> {
        match self {
            Self::There(remote) => {
                let limit = most.to_string();
                let mut words = words(filter)?;
                words.push(("limit".to_owned(), limit));
                words.extend(after.map(|after| ("after".to_owned(), after.to_owned())));
                remote.get(&format!("/queue?{}", query(&words)))
            }
            Self::Here(here) => Ok(here.runtime.block_on(here.operator.list(filter, after, most))?),
        }
    }

    pub fn count(&self, filter: &Filter) -> anyhow::Result<Count> {
        match self {
            Self::There(remote) => remote.get(&format!("/queue/count?{}", query(&words(filter)?))),
            Self::Here(here) => Ok(here.runtime.block_on(here.operator.count(filter))?),
        }
    }

    pub fn count_of(&self, request: &ActRequest) -> anyhow::Result<Count> {
        match self {
            Self::There(remote) => remote.post("/queue/acts/count", request),
            Self::Here(here) => Ok(here.runtime.block_on(here.operator.count_of(request))?),
        }
    }

    pub fn act(&self, request: &ActRequest) -> anyhow::Result<ActAnswer> {
        match self {
            Self::There(remote) => remote.post("/queue/acts", request),
            Self::Here(here) => {
                let by = here.by(request.reason.as_deref());
                Ok(here.runtime.block_on(here.operator.act(request, &by))?)
            }
        }
    }

    pub fn show(&self, mid: &str) -> anyhow::Result<Message> {
        match self {
            Self::There(remote) => remote.get(&format!("/queue/{}", plain(mid)?)),
            Self::Here(here) => Ok(here.runtime.block_on(here.operator.show(mid))?),
        }
    }

    pub fn export(&self, mid: &str, content_only: bool, out: &mut impl Write) -> anyhow::Result<()> {
        match self {
            Self::There(remote) => {
                let octets = remote.octets(&format!("/queue/{}/export?content_only={content_only}", plain(mid)?))?;
                Ok(out.write_all(&octets)?)
            }
            Self::Here(here) => here.runtime.block_on(async {
                let (head, content) = here.operator.export(mid).await?;
                if !content_only {
                    out.write_all(head.as_bytes())?;
                }
                let mut n = 0;
                while let Some(piece) = content.chunk(n).await? {
                    out.write_all(&piece)?;
                    n += 1;
                }
                Ok(())
            }),
        }
    }

    /// Hands over all that is queued, piece by piece.
    pub fn snapshot(&self, each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        match self {
            Self::There(remote) => remote.stream("/queue/snapshot", each),
            Self::Here(here) => here.runtime.block_on(async {
                let mut snapshot = here.operator.queue().snapshot(self.now()).await?;
                while let Some(octets) = snapshot.next().await? {
                    each(&octets)?;
                }
                Ok(())
            }),
        }
    }

    pub fn import(&self, file: Bytes, hold: bool, reason: Option<&str>) -> anyhow::Result<ImportAnswer> {
        match self {
            Self::There(remote) => {
                let mut words = vec![("hold".to_owned(), hold.to_string())];
                words.extend(reason.map(|reason| ("reason".to_owned(), reason.to_owned())));
                remote.send(&format!("/queue/import?{}", query(&words)), file)
            }
            Self::Here(here) => {
                let by = here.by(reason);
                let imported = here.runtime.block_on(ingress::import(&here.operator, file, hold, &by))?;
                let mid = imported.mid.map(|mid| mid.to_string());
                Ok(ImportAnswer { mid, recipients: imported.recipients as u64 })
            }
        }
    }

    pub fn now(&self) -> Timestamp {
        Clock::system().wall()
    }

    /// What was written is on disk already; this spares the next start a replay.
    pub fn end(self) {
        if let Self::Here(here) = self {
            here.runtime.block_on(here.operator.queue().close());
        }
    }
}

impl Here {
    fn new(config: Config, queue: Queue, changes: bool) -> anyhow::Result<Self> {
        let _log = changes.then(|| log::install(&config.server.log)).transpose()?;
        let settings = Settings::from(&config.server);
        let operator = Operator::offline(Offline {
            queue,
            table: Arc::new(alerts::table(&config)),
            clock: Clock::system(),
            mids: Arc::new(MidSource::default()),
            settings,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let who = os::username().unwrap_or_else(|| "somebody of this host".to_owned());
        Ok(Self { runtime, operator, who, _log })
    }

    fn by(&self, why: Option<&str>) -> By {
        By { who: self.who.clone(), why: why.filter(|why| !why.trim().is_empty()).map(str::to_owned) }
    }
}

fn running(path: &Path) -> String {
    format!("the relay is running and has the queue {} open, and it cannot be asked", path.display())
}

/// A filter as words of a query.
fn words(filter: &Filter) -> anyhow::Result<Vec<(String, String)>> {
    let serde_json::Value::Object(fields) = serde_json::to_value(filter)? else { return Ok(Vec::new()) };
    let texts = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    Ok(texts.collect())
}

fn query(words: &[(String, String)]) -> String {
    let of = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for b in text.bytes() {
            match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
                b => out.push_str(&format!("%{b:02X}")),
            }
        }
        out
    };
    words.iter().map(|(name, value)| format!("{}={}", of(name), of(value))).collect::<Vec<_>>().join("&")
}

/// A mid is no path.
fn plain(mid: &str) -> anyhow::Result<String> {
    Ok(mid.parse::<crate::mail::Mid>().or_usage()?.to_string())
}
