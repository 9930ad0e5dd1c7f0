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
            // A referral: this server does not know, whatever there may be.
            ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => {
                DnsError::Failed("the name server answers no queries for this name".to_owned())
            }
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
            match both(first.map(addresses), second.map(addresses)) {
                // Aliases that lead in a circle end in the same words as a name without addresses.
                Err(DnsError::NoRecord) if self.lookup(host, RecordType::CNAME).await.is_ok() => {
                    Err(DnsError::Failed("the name is an alias that leads to no address".to_owned()))
                }
                found => found,
            }
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
    use hickory_resolver::proto::op::{Message, OpCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, NS};
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

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

    /// A name server that knows a few names; the rest does not exist.
    async fn name_server() -> (SocketAddr, tokio::task::AbortHandle) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut octets = [0; 1500];
            loop {
                let (size, client) = socket.recv_from(&mut octets).await.unwrap();
                let query = Message::from_vec(&octets[..size]).unwrap();
                let _ = socket.send_to(&answer(&query).to_vec().unwrap(), client).await;
            }
        });
        (address, task.abort_handle())
    }

    fn answer(query: &Message) -> Message {
        let asked = query.queries[0].clone();
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.add_query(asked.clone());
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let record = |data| Record::from_rdata(asked.name().clone(), 60, data);
        let data = match (asked.name().to_ascii().to_ascii_lowercase().as_str(), asked.query_type()) {
            ("b.example.", RecordType::MX) => Some(RData::MX(MX::new(10, name("MX.b.example.")))),
            ("null.example.", RecordType::MX) => Some(RData::MX(MX::new(0, Name::root()))),
            ("mx.b.example.", RecordType::A) => Some(RData::A(A::new(127, 0, 0, 2))),
            ("mx.b.example.", RecordType::AAAA) => Some(RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1))),
            ("half.example.", RecordType::A) => Some(RData::A(A::new(127, 0, 0, 3))),
            ("alias.example.", _) => Some(RData::CNAME(CNAME(name("mx.b.example.")))),
            ("loop.example.", _) => Some(RData::CNAME(CNAME(name("loop.example.")))),
            ("lame.example.", _) => {
                answer.add_authority(Record::from_rdata(name("example."), 60, RData::NS(NS(name("ns.example.")))));
                None
            }
            ("b.example." | "null.example." | "mx.b.example.", _) => None,
            ("broken.example.", _) | ("half.example.", RecordType::AAAA) => {
                answer.metadata.response_code = ResponseCode::ServFail;
                None
            }
            ("refused.example.", _) => {
                answer.metadata.response_code = ResponseCode::Refused;
                None
            }
            _ => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                None
            }
        };
        answer.add_answers(data.map(record));
        answer
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_apart_from_what_is_not_known() {
        let (address, task) = name_server().await;
        let dns = Dns::new(&[address]);
        let failed = |answer: Result<(), DnsError>| matches!(answer, Err(DnsError::Failed(_)));

        let mx = |preference, host: &str| Ok(vec![Mx { preference, host: host.to_owned() }]);
        assert_eq!(dns.mx("b.example").await, mx(10, "mx.b.example"));
        assert_eq!(dns.mx("null.example").await, mx(0, ""));
        assert_eq!(dns.mx("mx.b.example").await, Err(DnsError::NoRecord));
        assert_eq!(dns.mx("gone.example").await, Err(DnsError::NoName));
        // No MX behind an alias: its addresses are asked for next.
        assert_eq!(dns.mx("alias.example").await, Err(DnsError::NoRecord));
        assert!(failed(dns.addresses("loop.example").await.map(drop)));
        for name in ["broken.example", "refused.example", "lame.example"] {
            assert!(failed(dns.mx(name).await.map(drop)), "{name}");
            assert!(failed(dns.addresses(name).await.map(drop)), "{name}");
        }

        for name in ["mx.b.example", "alias.example"] {
            let mut found = dns.addresses(name).await.unwrap();
            found.sort();
            assert_eq!(found, ["127.0.0.2", "::1"].map(|address| address.parse::<IpAddr>().unwrap()), "{name}");
        }
        assert_eq!(dns.addresses("half.example").await, Ok(vec!["127.0.0.3".parse().unwrap()]));
        assert_eq!(dns.addresses("b.example").await, Err(DnsError::NoRecord));
        assert_eq!(dns.addresses("gone.example").await, Err(DnsError::NoName));
        task.abort();
    }

    #[tokio::test]
    async fn a_name_server_that_is_not_there_is_a_failure() {
        // Bound and never read: nobody else can answer there.
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let dns = Dns::new(&[silent.local_addr().unwrap()]);
        tokio::time::pause();
        assert!(matches!(dns.mx("b.example").await, Err(DnsError::Failed(_))));
    }
}
