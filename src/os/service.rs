//! What supervises the process is told how it fares: systemd, by sd_notify(3). Elsewhere, and without one, nothing happens.

use std::time::Duration;

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Clients are served.
    Ready,
    /// The configuration is loaded anew; `Ready` says when that is over.
    Reloading,
    Stopping,
    /// It still works: to be said before each `watchdog` is over.
    Alive,
    /// A line for `systemctl status`.
    Status(&'a str),
}

/// Somebody wants to be told.
pub fn is_supervised() -> bool {
    cfg!(unix) && std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Standard error goes to systemd's journal (systemd.exec(5), `$JOURNAL_STREAM`).
pub fn logs_to_journal() -> bool {
    #[cfg(target_os = "linux")]
    {
        let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
        rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// How long the process may say nothing before it is taken for dead; `None`: for ever.
pub fn watchdog() -> Option<Duration> {
    #[cfg(unix)]
    return sd_notify::watchdog_enabled();
    #[cfg(not(unix))]
    None
}

/// Tells it. That nobody listens is no error of ours: a supervisor that misses a word does what it does then.
pub fn tell(conditions: &[Condition<'_>]) {
    #[cfg(unix)]
    {
        use sd_notify::NotifyState;
        let states: Vec<NotifyState<'_>> = conditions
            .iter()
            .flat_map(|condition| match *condition {
                Condition::Ready => vec![NotifyState::Ready],
                // A `Type=notify-reload` service is killed without the time (sd_notify(3)).
                Condition::Reloading => {
                    std::iter::once(NotifyState::Reloading).chain(NotifyState::monotonic_usec_now()).collect()
                }
                Condition::Stopping => vec![NotifyState::Stopping],
                Condition::Alive => vec![NotifyState::Watchdog],
                Condition::Status(text) => vec![NotifyState::Status(text)],
            })
            .collect();
        if let Err(error) = sd_notify::notify(&states) {
            tracing::debug!(%error, "the supervisor cannot be told how the relay fares");
        }
    }
    #[cfg(not(unix))]
    let _ = conditions;
}
