//! Names to addresses: a narrow interface, and hickory behind it. What is not there is told apart from what could not be
//! found out: the first may bounce mail, the second never does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as HickoryDnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

/// No lookup takes longer, all its tries and CNAMEs included.
const LONGEST: Duration = Duration::from_secs(20);
/// How long addresses of one family wait for those of the other (RFC 8305, section 3, is more eager).
const OTHER_FAMILY: Duration = Duration::from_secs(1);

/// An MX record; the name of a null MX (RFC 7505) is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    pub preference: u16,
    pub host: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// NXDOMAIN.
    #[error("the name does not exist")]
    NoName,
    /// The name exists, records of this type do not.
    #[error("the name has no such record")]
    NoRecord,
    /// SERVFAIL, no answer in time, nonsense: ask again later.
    #[error("{0}")]
    Failed(String),
}

/// What the ways out need of DNS.
pub trait Resolve: Send + Sync {
    /// Never empty.
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>>;
    /// A and AAAA. Never empty.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
}

/// The resolver that the relay runs with. Keeps answers for as long as they are good.
pub struct Dns {
    /// Without the system's configuration no name resolves, yet the relay runs: providers given by address still work.
    resolver: Result<TokioResolver, String>,
}

impl Dns {
    /// No name servers: the system's.
    pub fn new(nameservers: &[SocketAddr]) -> Self {
        let builder = if nameservers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let servers = nameservers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        };
        let resolver = builder
            .and_then(|builder| builder.build())
            .map_err(|error| format!("the system's DNS configuration cannot be read: {error}"));
        Self { resolver }
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, DnsError> {
        let resolver = self.resolver.as_ref().map_err(|why| DnsError::Failed(why.clone()))?;
        let found = tokio::time::timeout(LONGEST, resolver.lookup(name, kind))
            .await
            .map_err(|_| DnsError::Failed("DNS gave no answer in time".to_owned()))?
            .map_err(|error| self::error(&error))?;
        let records = found.answers().iter().map(|record| record.data.clone());
        let records: Vec<_> = records.filter(|data| data.record_type() == kind).collect();
        if records.is_empty() { Err(DnsError::NoRecord) } else { Ok(records) }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .collect();
    server
}

fn error(error: &NetError) -> DnsError {
    match error {
        NetError::Dns(HickoryDnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => DnsError::NoName,
            ResponseCode::NoError => DnsError::NoRecord,
            code => DnsError::Failed(format!("DNS answered {code}")),
        },
        other => DnsError::Failed(format!("DNS failed: {other}")),
    }
}

impl Resolve for Dns {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        async move {
            // The final dot: a mail domain is complete, no search list applies.
            let records = self.lookup(&format!("{domain}."), RecordType::MX).await?;
            let mx = records.into_iter().filter_map(|data| match data {
                RData::MX(mx) => {
                    let host = mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                    Some(Mx { preference: mx.preference, host })
                }
                _ => None,
            });
            Ok(mx.collect())
        }
        .boxed()
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        async move {
            let (v4, v6) = (self.lookup(host, RecordType::A).boxed(), self.lookup(host, RecordType::AAAA).boxed());
            // One family that is there does not wait long for a server that cannot answer for the other.
            let (first, second) = match select(v4, v6).await {
                Either::Left((first, rest)) | Either::Right((first, rest)) => match first {
                    Ok(_) => match tokio::time::timeout(OTHER_FAMILY, rest).await {
                        Ok(second) => (first, second),
                        Err(_) => return first.map(addresses),
                    },
                    Err(_) => (first, rest.await),
                },
            };
            both(first.map(addresses), second.map(addresses))
        }
        .boxed()
    }
}

fn addresses(records: Vec<RData>) -> Vec<IpAddr> {
    records.iter().filter_map(RData::ip_addr).collect()
}

/// What the answers for both families come to: any address is good; a failure outweighs an absence.
fn both(one: Result<Vec<IpAddr>, DnsError>, other: Result<Vec<IpAddr>, DnsError>) -> Result<Vec<IpAddr>, DnsError> {
    match (one, other) {
        (Ok(mut one), Ok(other)) => {
            one.extend(other);
            Ok(one)
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(failed @ DnsError::Failed(_)), Err(_)) | (Err(_), Err(failed @ DnsError::Failed(_))) => Err(failed),
        (Err(DnsError::NoRecord), Err(_)) | (Err(_), Err(DnsError::NoRecord)) => Err(DnsError::NoRecord),
        (Err(DnsError::NoName), Err(DnsError::NoName)) => Err(DnsError::NoName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_is_enough_and_failure_outweighs_absence() {
        let here = || Ok(vec!["127.0.0.1".parse().unwrap()]);
        let failed = || Err(DnsError::Failed("x".to_owned()));
        for (one, other, result) in [
            (here(), failed(), here()),
            (Err(DnsError::NoName), here(), here()),
            (failed(), Err(DnsError::NoName), failed()),
            (Err(DnsError::NoRecord), failed(), failed()),
            (Err(DnsError::NoRecord), Err(DnsError::NoName), Err(DnsError::NoRecord)),
            (Err(DnsError::NoName), Err(DnsError::NoName), Err(DnsError::NoName)),
        ] {
            assert_eq!(both(one, other), result);
        }
    }
}
