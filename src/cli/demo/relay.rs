//! The demo's relay: this program once more, as a process of its own, with a configuration in the demo's folder.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::folder::Folder;
use super::stand_in::StandIn;
use crate::admin::Files;
use crate::config::Secret;

/// For its start, and for its end in order.
const BOUND: Duration = Duration::from_secs(20);
const ASK: Duration = Duration::from_secs(5);
/// Ports are found and then taken: somebody else may be faster.
const TRIES: usize = 3;

pub(super) struct Relay {
    child: Child,
    smtp: SocketAddr,
    page: String,
    token: Secret,
    client: reqwest::Client,
}

/// How the relay stands.
pub(super) struct Status {
    pub(super) queued: u64,
    /// The state of the primary.
    pub(super) primary: String,
    pub(super) error: Option<String>,
    /// Name and text of the alerts that are on.
    pub(super) alerts: Vec<(String, String)>,
}

impl Relay {
    pub(super) async fn start(folder: &Folder, providers: [&StandIn; 2]) -> anyhow::Result<Self> {
        let mut last = anyhow!("it was not tried");
        for _ in 0..TRIES {
            match Self::try_start(folder, providers).await {
                Ok(relay) => return Ok(relay),
                Err(error) => last = error,
            }
        }
        Err(last.context("the demo's relay does not start"))
    }

    async fn try_start(folder: &Folder, providers: [&StandIn; 2]) -> anyhow::Result<Self> {
        let smtp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        for (name, text) in configuration(smtp, providers) {
            folder.write(name, &text).context("the demo's configuration cannot be written")?;
        }
        let log = folder.path().join("relay.log");
        let out = File::create(&log)?;
        let program = std::env::current_exe().context("this program does not know where it lies")?;
        let mut command = Command::new(program);
        command
            .args(["demo", "--parent", &std::process::id().to_string(), "--relay"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        command.current_dir(folder.path()).env_remove("RUST_LOG");
        // Ctrl-C is for the demo, which then ends the relay when all is counted.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().context("this program cannot be started once more")?;
        let mut relay = Self {
            child,
            smtp,
            page: String::new(),
            token: Secret::new(String::new()),
            client: reqwest::Client::builder().no_proxy().timeout(ASK).build()?,
        };
        relay.wait(folder).await.map_err(|error| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            error.context(said.lines().last().unwrap_or("it said nothing").to_owned())
        })?;
        Ok(relay)
    }

    /// Until it takes mail and answers.
    async fn wait(&mut self, folder: &Folder) -> anyhow::Result<()> {
        let files = Files::beside(&folder.path().join("data/queue.redb"));
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the relay ended at once: {status}");
            }
            let read = |path| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
            if let (Ok(address), Ok(token)) = (read(&files.address), read(&files.token)) {
                self.page = format!("http://{address}/");
                self.token = Secret::new(token);
                if tokio::net::TcpStream::connect(self.smtp).await.is_ok() && self.status().await.is_ok() {
                    return Ok(());
                }
            }
            if began.elapsed() > BOUND {
                bail!("the relay does not answer within {} s", BOUND.as_secs());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn smtp(&self) -> SocketAddr {
        self.smtp
    }

    pub(super) fn page(&self) -> &str {
        &self.page
    }

    pub(super) fn token(&self) -> &str {
        self.token.expose()
    }

    pub(super) async fn status(&self) -> anyhow::Result<Status> {
        let (status, alerts) = tokio::try_join!(self.get("status"), self.get("alerts"))?;
        let providers = status["providers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let primary = providers.iter().find(|provider| provider["name"] == super::PRIMARY);
        let primary = primary.context("the relay tells nothing of its providers")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let alerts = alerts["alerts"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        Ok(Status {
            queued: status["queue"]["messages"].as_u64().unwrap_or(0),
            primary: text(&primary["state"]).unwrap_or_default(),
            error: text(&primary["last_error"]["text"]),
            alerts: alerts
                .filter_map(|alert| {
                    let name = format!("{} {}", text(&alert["rule"])?, text(&alert["subject"])?);
                    Some((name, text(&alert["summary"])?))
                })
                .collect(),
        })
    }

    async fn get(&self, what: &str) -> anyhow::Result<Value> {
        let url = format!("{}api/v1/{what}", self.page);
        let response = self.client.get(url).bearer_auth(self.token.expose()).send().await;
        let response = response.context("the relay does not answer")?.error_for_status()?;
        Ok(response.json().await?)
    }

    /// In order; whoever does not end in time is ended.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        crate::os::terminate(&mut self.child);
        let ended = timeout(BOUND, async {
            while matches!(self.child.try_wait(), Ok(None)) {
                sleep(Duration::from_millis(10)).await;
            }
        });
        anyhow::ensure!(ended.await.is_ok(), "the relay did not end within {} s", BOUND.as_secs());
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(smtp: SocketAddr, [primary, secondary]: [&StandIn; 2]) -> [(&'static str, String); 3] {
    let server = format!(
        "hostname: relay.demo.example
listeners: [{{name: apps, address: \"{smtp}\"}}]
admin: {{address: \"127.0.0.1:0\"}}
queue: {{retry: [1s, 2s], min_free: 0MB}}
pickup: none
log: {{format: text, level: info}}
alerts: {{rules: {{breaker: 2s, settle: 1s}}}}
"
    );
    let provider = |one: &StandIn| {
        format!(
            "  - {{name: {}, transport: smtp, host: {}, port: {}, tls: none, timeout: 5s, \
             breaker: {{failures: 3, within: 10s, probe_after: 1s, probe_max: 2s}}}}\n",
            one.name,
            one.address.ip(),
            one.address.port()
        )
    };
    let routes = "routes:
  - name: receipts
    match: {sender: \"app@*\", recipient_domain: customer.example}
    priority: high
    deliver: [primary, secondary]
  - name: newsletters
    match: {sender: \"news@*\"}
    priority: bulk
    deliver: [{primary: 80, secondary: 20}]
  - name: everything-else
    deliver: [primary, secondary]
";
    [
        ("waypost.yaml", server),
        ("providers/10-demo.yaml", format!("providers:\n{}{}", provider(primary), provider(secondary))),
        ("routes/10-demo.yaml", routes.to_owned()),
    ]
}
