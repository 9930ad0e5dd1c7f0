//! The ways out of a configuration, built from its providers.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{self, Config, LmtpSettings, MxSettings, Provider, SmtpSettings};
use crate::mail::ProviderName;
use crate::os::Clock;
use crate::transport::{self, Environment, Transport};

pub type Transports = HashMap<ProviderName, Arc<dyn Transport>>;

/// Each by its provider's name.
pub fn transports(config: &Config, clock: &Clock) -> anyhow::Result<Transports> {
    let environment = environment(config, clock);
    config.providers.iter().map(|provider| Ok((provider.name.clone(), build(provider, &environment)?))).collect()
}

/// The same for a changed configuration: what stays as it is keeps its connections.
pub fn renewed(config: &Config, clock: &Clock, before: (&Config, &Transports)) -> anyhow::Result<Transports> {
    let (old, transports) = before;
    let known: HashMap<&ProviderName, &Arc<Provider>> = old.providers.iter().map(|one| (&one.name, one)).collect();
    let same_world =
        old.server.hostname == config.server.hostname && old.server.nameservers == config.server.nameservers;
    let environment = environment(config, clock);
    let mut renewed = HashMap::with_capacity(config.providers.len());
    for provider in &config.providers {
        let kept = known.get(&provider.name).filter(|old| same_world && is_same_way(old, provider));
        let transport = match kept.and_then(|_| transports.get(&provider.name)) {
            Some(kept) => kept.clone(),
            None => build(provider, &environment)?,
        };
        renewed.insert(provider.name.clone(), transport);
    }
    Ok(renewed)
}

/// Nothing that a transport is built from has changed. What a file of certificates holds may have.
fn is_same_way(old: &Provider, new: &Provider) -> bool {
    let ca = match &new.transport {
        config::Transport::Mx(MxSettings { ca, .. })
        | config::Transport::Smtp(SmtpSettings { ca, .. })
        | config::Transport::Lmtp(LmtpSettings { ca, .. }) => ca.as_ref(),
        config::Transport::SendGrid(_)
        | config::Transport::Mailgun(_)
        | config::Transport::Ses(_)
        | config::Transport::Maildir(_) => None,
    };
    ca.is_none()
        && old.transport == new.transport
        && old.timeout == new.timeout
        && old.concurrency == new.concurrency
        && old.region == new.region
}

fn environment(config: &Config, clock: &Clock) -> Environment {
    Environment {
        hostname: config.server.hostname.clone(),
        resolver: Arc::new(transport::dns::Dns::new(&config.server.nameservers)),
        clock: clock.clone(),
    }
}

fn build(provider: &Provider, environment: &Environment) -> anyhow::Result<Arc<dyn Transport>> {
    let built = (|| -> anyhow::Result<Arc<dyn Transport>> {
        Ok(match &provider.transport {
            config::Transport::Mx(mx) => Arc::new(transport::MxTransport::new(provider, mx, environment)?),
            config::Transport::Smtp(smtp) => Arc::new(transport::SmtpTransport::new(provider, smtp, environment)?),
            config::Transport::Lmtp(lmtp) => Arc::new(transport::SmtpTransport::lmtp(provider, lmtp, environment)?),
            config::Transport::SendGrid(sendgrid) => {
                Arc::new(transport::SendGridTransport::new(provider, sendgrid, environment)?)
            }
            config::Transport::Mailgun(mailgun) => {
                Arc::new(transport::MailgunTransport::new(provider, mailgun, environment)?)
            }
            config::Transport::Ses(ses) => Arc::new(transport::SesTransport::new(provider, ses, environment)?),
            config::Transport::Maildir(maildir) => {
                Arc::new(transport::MaildirTransport::new(provider, maildir, environment)?)
            }
        })
    })();
    built.with_context(|| format!("{}: provider '{}'", provider.place, provider.name))
}
