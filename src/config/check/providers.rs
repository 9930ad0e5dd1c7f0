//! Providers: what each transport needs, and what it takes when the file does not say.

mod lmtp;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::server::readable;
use super::{Files, Names, limit};
use crate::config::fault::{Fault, nearest};
use crate::config::model::{
    BreakerSettings, Credentials, MaildirSettings, MailgunSettings, MxSettings, MxTls, Provider, SendGridSettings,
    SesCredentials, SesSettings, SmtpSettings, SmtpTls, Timeouts, Transport,
};
use crate::config::raw::{Endpoint, RawBreaker, RawProvider, RawTimeout, Span, TlsWord, TransportWord};
use crate::config::read::{Cx, Field, Record};
use crate::mail::ProviderName;

/// The providers that make sense, and the names of all.
pub(super) struct Providers {
    pub list: Vec<Arc<Provider>>,
    pub names: Names,
}

pub(super) fn check(files: &Files, cx: &mut Cx<'_>) -> Providers {
    let mut names = Names::new("provider", files.providers_broken);
    let mut list = Vec::new();
    for (file, providers) in &files.providers {
        cx.file = file.clone();
        for raw in providers.providers.get().into_iter().flatten() {
            let Some(name) = &raw.name.value else {
                names.incomplete = true;
                continue;
            };
            if names.add(&name.0, name.spot, cx) {
                list.extend(provider(raw, &name.0, cx).map(Arc::new));
            }
        }
        if providers.providers.is_given() && providers.providers.get().is_none() {
            names.incomplete = true;
        }
    }
    Providers { list, names }
}

/// One provider while it is being judged.
struct Subject<'r> {
    raw: &'r RawProvider,
    name: &'r str,
    transport: TransportWord,
}

impl Subject<'_> {
    /// The value of a key that the transport cannot do without.
    fn need<T: Clone>(&self, field: &Field<T>, key: &'static str, cx: &mut Cx<'_>) -> Option<T> {
        if !field.is_given() {
            let spot = self.raw.transport.spot(self.raw.spot());
            let (provider, transport) = (self.name.to_owned(), self.transport.word());
            cx.error(spot, Fault::TransportNeeds { provider, transport, key });
        }
        field.get().cloned()
    }

    fn tls<T>(
        &self,
        usual: T,
        of: impl Fn(TlsWord) -> Option<T>,
        known: &'static [&'static str],
        cx: &mut Cx<'_>,
    ) -> T {
        let Some(word) = self.raw.tls.get() else { return usual };
        of(*word).unwrap_or_else(|| {
            let (provider, transport) = (self.name.to_owned(), self.transport.word());
            let fault = Fault::TlsOfOther { provider, word: word.word(), transport, known };
            cx.error(self.raw.tls.spot(self.raw.spot()), fault);
            usual
        })
    }

    /// Warns of a password that may travel in clear.
    fn clear_password(&self, credentials: Option<&Credentials>, host: &str, tls: SmtpTls, cx: &mut Cx<'_>) {
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if credentials.is_some() && matches!(tls, SmtpTls::None | SmtpTls::Opportunistic) && !local {
            let fault = Fault::ClearPassword { provider: self.name.to_owned(), host: host.to_owned() };
            cx.warning(self.raw.tls.spot(self.raw.spot()), fault);
        }
    }

    /// The API's host: `endpoint`, else the one of the region. Also the region.
    fn api(&self, us: &str, eu: &str, cx: &mut Cx<'_>) -> (String, String) {
        let region = self.raw.region.get().map_or("us", |region| region.0.as_str());
        let endpoint = self.raw.endpoint.get().map(|Endpoint(endpoint)| endpoint.clone());
        let own = match region {
            "us" => us,
            "eu" => eu,
            other => {
                if endpoint.is_none() {
                    let (provider, transport) = (self.name.to_owned(), self.transport.word());
                    let nearest = nearest(other, ["us", "eu"]);
                    let region = other.to_owned();
                    let fault = Fault::NoSuchRegion { provider, transport, region, nearest };
                    cx.error(self.raw.region.spot(self.raw.spot()), fault);
                }
                us
            }
        };
        (endpoint.unwrap_or_else(|| format!("https://{own}")), region.to_owned())
    }
}

fn provider(raw: &RawProvider, name: &str, cx: &mut Cx<'_>) -> Option<Provider> {
    let transport = *raw.transport.get()?;
    let subject = Subject { raw, name, transport };
    for (key, spot) in raw.own_keys().filter(|(key, _)| !transport.takes(key)) {
        let to = TransportWord::ALL.iter().filter(|other| other.takes(key)).map(|other| other.word()).collect();
        cx.error(spot, Fault::KeyOfOther { provider: name.to_owned(), key, transport: transport.word(), to });
    }
    let mut region = raw.region.get().map(|region| region.0.clone());
    // Every part is judged, whatever is wrong with another.
    let limit = limit(&raw.rate, &raw.burst, &raw.per, cx);
    let breaker = breaker(raw, name, cx);
    let api = !matches!(transport, TransportWord::Mx | TransportWord::Smtp | TransportWord::Lmtp);
    let transport = match transport {
        TransportWord::Mx => Some(Transport::Mx(mx(&subject, cx))),
        TransportWord::Smtp => smtp(&subject, cx).map(Transport::Smtp),
        TransportWord::Lmtp => lmtp::check(&subject, cx).map(Transport::Lmtp),
        TransportWord::SendGrid => {
            let (endpoint, own) = subject.api("api.sendgrid.com", "api.eu.sendgrid.com", cx);
            region = Some(own);
            let api_key = subject.need(&raw.api_key, "api_key", cx);
            api_key.map(|api_key| Transport::SendGrid(SendGridSettings { api_key, endpoint }))
        }
        TransportWord::Mailgun => {
            let (endpoint, own) = subject.api("api.mailgun.net", "api.eu.mailgun.net", cx);
            region = Some(own);
            let api_key = subject.need(&raw.api_key, "api_key", cx);
            let domain = subject.need(&raw.domain, "domain", cx);
            api_key
                .zip(domain)
                .map(|(api_key, domain)| Transport::Mailgun(MailgunSettings { api_key, endpoint, domain }))
        }
        TransportWord::Ses => ses(&subject, cx).map(Transport::Ses),
        TransportWord::Maildir => {
            subject.need(&raw.path, "path", cx).map(|path| Transport::Maildir(MaildirSettings { path }))
        }
    }?;
    Some(Provider {
        name: ProviderName::new(name),
        place: cx.place(raw.name.spot(raw.spot())),
        region,
        limit,
        concurrency: raw
            .concurrency
            .get()
            .map_or(if matches!(transport, Transport::Mx(_)) { 100 } else { 32 }, |most| most.to_usize()),
        quota: raw.quota.get().copied(),
        breaker,
        timeout: timeouts(raw, api),
        transport,
    })
}

fn mx(subject: &Subject<'_>, cx: &mut Cx<'_>) -> MxSettings {
    let raw = subject.raw;
    let known = &["none", "opportunistic", "require", "verify"];
    MxSettings {
        tls: subject.tls(MxTls::Opportunistic, TlsWord::mx, known, cx),
        port: raw.port.get().map_or(25, |port| port.to_u16()),
        destination_concurrency: raw.destination_concurrency.get().map_or(10, |most| most.to_usize()),
        ca: authority(raw, cx),
        source: raw.source.get().copied(),
    }
}

fn authority(raw: &RawProvider, cx: &mut Cx<'_>) -> Option<PathBuf> {
    readable(&raw.ca, cx)
}

fn smtp(subject: &Subject<'_>, cx: &mut Cx<'_>) -> Option<SmtpSettings> {
    let raw = subject.raw;
    let port = raw.port.get().map(|port| port.to_u16());
    let signs_in = raw.credentials.is_given();
    // A password is never sent in clear unless the user insists; 465 is TLS from the first octet (RFC 8314, 3.3).
    let usual = match (port, signs_in) {
        (Some(465), _) => SmtpTls::Implicit,
        (_, true) => SmtpTls::StartTls,
        (_, false) => SmtpTls::Opportunistic,
    };
    let known = &["none", "opportunistic", "starttls", "implicit"];
    let tls = subject.tls(usual, TlsWord::smtp, known, cx);
    let port = port.unwrap_or(match (tls, signs_in) {
        (SmtpTls::Implicit, _) => 465,
        (SmtpTls::None | SmtpTls::Opportunistic | SmtpTls::StartTls, true) => 587,
        (SmtpTls::None | SmtpTls::Opportunistic | SmtpTls::StartTls, false) => 25,
    });
    let credentials = credentials(raw);
    let ca = authority(raw, cx);
    let host = subject.need(&raw.host, "host", cx)?.0;
    subject.clear_password(credentials.as_ref(), &host, tls, cx);
    let source = raw.source.get().copied();
    let (flavor, chunking) = (raw.flavor.get().copied(), raw.chunking.get().is_some_and(|&chunking| chunking));
    Some(SmtpSettings { host, port, tls, credentials, ca, source, flavor, chunking })
}

fn credentials(raw: &RawProvider) -> Option<Credentials> {
    let raw = raw.credentials.get()?;
    let username = raw.username.get()?.0.clone();
    Some(Credentials { username, password: raw.password.get()?.clone() })
}

fn ses(subject: &Subject<'_>, cx: &mut Cx<'_>) -> Option<SesSettings> {
    let raw = subject.raw;
    let credentials = match (&raw.access_key_id, &raw.secret_access_key) {
        (id, secret) if id.is_given() && secret.is_given() => id
            .get()
            .zip(secret.get())
            .map(|(id, secret)| SesCredentials { access_key_id: id.0.clone(), secret_access_key: secret.clone() }),
        (id, secret) => {
            if let Some(spot) = id.key.or(secret.key) {
                cx.error(spot, Fault::HalfCredentials);
            }
            None
        }
    };
    let region = subject.need(&raw.region, "region", cx)?.0;
    if !is_aws_region(&region) {
        let fault = Fault::AwsRegion { provider: subject.name.to_owned(), region: region.clone() };
        cx.error(raw.region.spot(raw.spot()), fault);
    }
    Some(SesSettings {
        region,
        endpoint: raw.endpoint.get().map(|endpoint| endpoint.0.clone()),
        credentials,
        configuration_set: raw.configuration_set.get().cloned(),
    })
}

/// `eu-west-1`, `us-gov-east-1`: words, and a number at the end.
fn is_aws_region(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    words.len() >= 2 && words.iter().all(word) && number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit())
}

fn breaker(raw: &RawProvider, name: &str, cx: &mut Cx<'_>) -> BreakerSettings {
    let given = raw.breaker.get();
    let span = |of: fn(&RawBreaker) -> &Field<Span>| given.and_then(|raw| of(raw).get()).map(|span| span.0);
    let probe_after = span(|raw| &raw.probe_after);
    let probe_max = span(|raw| &raw.probe_max);
    let usual = Duration::from_secs(15);
    let longest = Duration::from_secs(600);
    // One that is given alone draws the other along; both given must agree.
    let settings = BreakerSettings {
        failures: given.and_then(|raw| raw.failures.get()).map_or(5, |failures| failures.to_u32()),
        within: span(|raw| &raw.within).unwrap_or(Duration::from_secs(30)),
        probe_after: probe_after.unwrap_or_else(|| usual.min(probe_max.unwrap_or(longest))),
        probe_max: probe_max.unwrap_or_else(|| longest.max(probe_after.unwrap_or(usual))),
    };
    if let Some(given) = given
        && settings.probe_max < settings.probe_after
    {
        let BreakerSettings { probe_after, probe_max, .. } = settings;
        let fault = Fault::ProbeOrder { provider: name.to_owned(), probe_after, probe_max };
        cx.error(given.probe_max.spot(given.spot()), fault);
    }
    settings
}

/// SMTP's are those of RFC 5321, 4.5.3.2; an API answers at once or not at all.
fn timeouts(raw: &RawProvider, api: bool) -> Timeouts {
    let seconds = Duration::from_secs;
    let usual = if api {
        Timeouts { connect: seconds(10), command: seconds(30), content: seconds(60) }
    } else {
        Timeouts { connect: seconds(30), command: seconds(300), content: seconds(600) }
    };
    match raw.timeout.get() {
        None => usual,
        Some(RawTimeout::All(Span(all))) => Timeouts { connect: *all, command: *all, content: *all },
        Some(RawTimeout::Each(each)) => {
            let or = |field: &Field<Span>, usual| field.get().map_or(usual, |span| span.0);
            Timeouts {
                connect: or(&each.connect, usual.connect),
                command: or(&each.command, usual.command),
                content: or(&each.content, usual.content),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_regions_are_told_from_zones() {
        for good in ["eu-west-1", "us-east-2", "us-gov-east-1", "ap-southeast-3"] {
            assert!(is_aws_region(good), "{good}");
        }
        for bad in ["eu", "eu-west", "eu-west-1a", "EU-WEST-1", "", "-1", "eu--1", "eu-west-12"] {
            assert!(!is_aws_region(bad), "{bad}");
        }
    }
}
