//! `routes/*.yaml`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Count, Int, Name, ReversePath, Span, Weight};
use crate::config::read::{Dict, List, OneOrMany, either, record, words};
use crate::config::tree::Value;
use crate::config::{
    AddressPattern, DomainPattern, Glob, OnThrottle, OnUnknown, Per, Priority, Rate, Size, SizeTest, Sticky, TlsFloor,
};
use crate::mail::{Address, EnhancedStatus};

record! {
    /// A part of the routing table. Files are read in name order; the first route that matches a recipient takes it.
    struct RoutesFile {
        /// The routes, in order.
        may "routes" routes: List<RawRoute>,
        /// What this file's routes may take at all: each of them is limited to it.
        may "owner" owner: RawMatch,
        /// What must hold of the table; `waypost check` proves it.
        may "tests" tests: List<RawTest>,
    }
    later []
}

record! {
    /// One row of the routing table. It has exactly one of deliver, reject, hold and discard.
    struct RawRoute {
        /// Unique; the route's label in logs, metrics and the audit trail.
        need "name" name: Name,
        /// What it takes: all keys must hold, of each key's list one. Without it: everything.
        may "match" conditions: RawMatch,
        /// The chain: tiers of providers in order, the first healthy one takes the mail.
        may "deliver" deliver: Chain,
        /// Refuse with a reply.
        may "reject" reject: RawRejection,
        /// Keep for a person to release or delete; the text says why.
        may "hold" hold: String,
        /// Take it and throw it away.
        may "discard" discard: bool,
        /// How much may pass, such as 100/s.
        may "rate" rate: Rate,
        /// How many may pass at once after a rest. Default: a tenth of a second's worth, at least 1.
        may "burst" burst: Count,
        /// What the rate counts: message or recipient. Default: message.
        may "per" per: Per,
        /// Attempts at one time.
        may "concurrency" concurrency: Count,
        /// high, normal or bulk. Default: normal.
        may "priority" priority: Priority,
        /// Every provider of the chain must say this region; mail never leaves it.
        may "residency" residency: Name,
        /// The least TLS of every provider: require (encrypted) or verify (and the certificate names the peer).
        may "tls" tls: TlsFloor,
        /// When a message is given up. Default: the queue's.
        may "expire" expire: Span,
        /// The pauses between attempts. Default: the queue's.
        may "retry" retry: OneOrMany<Span>,
        /// A provider that says "too fast": wait for it, or failover to the next. Default: wait.
        may "on_throttle" on_throttle: OnThrottle,
        /// All was sent and no answer came back: next (provider; the one possible duplicate), wait or hold. Default: next.
        may "on_unknown" on_unknown: OnUnknown,
        /// What keeps to one provider of a weighted tier: message, or recipient (the same recipient, the same provider). Default: message.
        may "sticky" sticky: Sticky,
    }
    later ["dkim", "inspect", "rewrite", "headers", "copy_to", "schedule", "webhook"]
}

record! {
    /// Conditions. Keys are joined by AND, the values of one key by OR.
    struct RawMatch {
        /// The reverse-path: local@domain with *, or <> for bounces.
        may "sender" sender: OneOrMany<AddressPattern>,
        /// The reverse-path's domain; *.corp.example is every name below it, not itself.
        may "sender_domain" sender_domain: OneOrMany<DomainPattern>,
        /// The recipient: local@domain with *.
        may "recipient" recipient: OneOrMany<AddressPattern>,
        /// The recipient's domain; *.corp.example is every name below it, not itself.
        may "recipient_domain" recipient_domain: OneOrMany<DomainPattern>,
        /// The listener that took the message.
        may "listener" listener: OneOrMany<Glob>,
        /// The client's address: a network in CIDR form.
        may "client" client: OneOrMany<IpNet>,
        /// The authenticated user.
        may "user" user: OneOrMany<Glob>,
        /// Header fields: each named field must have a value that matches.
        may "header" header: Dict<OneOrMany<Glob>>,
        /// The message's size, such as ">10MiB".
        may "size" size: SizeTest,
        /// None of these may hold.
        may "not" not: Box<RawMatch>,
    }
    later ["attachment", "time", "body", "subject", "tag"]
}

record! {
    /// A refusal: 550 5.7.1 unless it says otherwise.
    struct RawRejection {
        /// The reply code: 4yz to put off, 5yz to refuse for good.
        may "code" code: Int<0, 999>,
        /// The enhanced status code, such as 5.7.1.
        may "status" status: EnhancedStatus,
        /// What the client is told.
        may "text" text: String,
    }
    later []
}

record! {
    /// An example that proves the table.
    struct RawTest {
        /// The reverse-path; <> for a bounce.
        need "from" from: ReversePath,
        /// One recipient, or a list.
        need "to" to: OneOrMany<Address>,
        /// The route that takes them all, or one for each recipient.
        need "route" route: Routes,
        /// The providers of the chain, in order.
        may "chain" chain: OneOrMany<String>,
        /// The authenticated user.
        may "user" user: String,
        /// The client's IP address.
        may "client" client: IpAddr,
        /// The listener's name. Default: the first one.
        may "listener" listener: String,
        /// Header fields of the message.
        may "header" header: Dict<String>,
        /// The message's size.
        may "size" size: Size,
    }
    later ["attachment"]
}

either! { RawTier { Shared(Dict<Weight>) if Value::Map(_), One(String) } }
either! { Routes { Each(Dict<String>) if Value::Map(_), All(String) } }

pub(in crate::config) type Chain = OneOrMany<RawTier>;

words! {
    TlsFloor {
        "require" => TlsFloor::Require,
        "verify" => TlsFloor::Verify,
    }
    later ["dane"]
}

words! {
    Per {
        "message" => Per::Message,
        "recipient" => Per::Recipient,
    }
    later []
}

words! {
    Priority {
        "high" => Priority::High,
        "normal" => Priority::Normal,
        "bulk" => Priority::Bulk,
    }
    later []
}

words! {
    OnThrottle {
        "wait" => OnThrottle::Wait,
        "failover" => OnThrottle::Failover,
    }
    later []
}

words! {
    OnUnknown {
        "next" => OnUnknown::Next,
        "wait" => OnUnknown::Wait,
        "hold" => OnUnknown::Hold,
    }
    later []
}

words! {
    Sticky {
        "message" => Sticky::Message,
        "recipient" => Sticky::Recipient,
    }
    later []
}
