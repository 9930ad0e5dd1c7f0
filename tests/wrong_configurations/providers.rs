//! Of providers.

use super::*;

#[test]
fn providers() {
    check(
        "providers",
        &[
            ("providers: [{transport: mx}]", &["1:13: key 'name' is missing"]),
            ("providers: [{name: a}]", &["1:13: key 'transport' is missing"]),
            (
                "providers: [{name: a b, transport: mx}]",
                &[
                    "1:20: 'a b' is no name: letters, digits, '-', '_' and '.', at most 64 of them, a letter or digit first",
                ],
            ),
            (
                "providers: [{name: a, transport: mx, api_key: \"${env:KEY}\", tls: implicit, port: 70000}]",
                &[
                    "1:38: provider 'a': key 'api_key' means nothing for transport 'mx'; it is a key of sendgrid, mailgun",
                    "1:66: provider 'a': tls 'implicit' is not for transport 'mx': none, opportunistic, require, verify",
                    "1:82: 70000 is out of range: 1 to 65535",
                ],
            ),
            ("providers: [{name: a, transport: mx, tls: dane}]", &["1:43: 'dane' is not supported yet"]),
            (
                "providers: [{name: a, transport: lmtp}, {name: b, transport: lmtp, host: h, socket: /s}]",
                &[
                    "1:34: provider 'a': transport 'lmtp' needs one of 'host' and 'socket'",
                    "1:77: provider 'b': transport 'lmtp' needs one of 'host' and 'socket'",
                ],
            ),
            (
                "providers: [{name: a, transport: lmtp, socket: /s, tls: starttls, port: 24}, {name: b, transport: lmtp, host: h, port: 25}]",
                &[
                    "1:52: provider 'a': key 'tls' means nothing beside 'socket'",
                    "1:67: provider 'a': key 'port' means nothing beside 'socket'",
                    "1:120: provider 'b': port 25 is SMTP's, and never LMTP's (RFC 2033, section 5); 24 is usual",
                ],
            ),
            ("providers: [{name: a, transport: smtp}]", &["1:34: provider 'a': transport 'smtp' needs key 'host'"]),
            (
                "providers: [{name: a, transport: smtp, host: h.example, tls: none, credentials: {username: u, password: hunter2}}]",
                &[
                    "1:62: provider 'a': the password may travel in clear to h.example; set 'tls: starttls' or 'tls: implicit'",
                    "1:95: a secret in clear text; write ${env:NAME} or ${file:PATH} instead",
                ],
            ),
            (
                "providers: [{name: a, transport: smtp, host: h.example, credentials: {username: u, oauth2: {}, password: \"${file:p}\"}}]",
                &[
                    "1:84: key 'oauth2' is not supported yet",
                    "1:106: cannot read the secret's file /etc/waypost/p: permission denied",
                ],
            ),
            (
                "providers: [{name: a, transport: sendgrid, api_key: \"${env:NONE}\", region: uk, endpoint: http://a.example}]",
                &[
                    "1:53: environment variable 'NONE' is not set; set it, or use ${file:PATH}",
                    "1:76: provider 'a': sendgrid has no region 'uk': us or eu, did you mean 'us'?",
                    "1:90: the endpoint must be https, lest keys and mail travel in clear; http is for loopback addresses alone",
                ],
            ),
            (
                "providers: [{name: a, transport: mailgun, api_key: 12345}]",
                &[
                    "1:34: provider 'a': transport 'mailgun' needs key 'domain'",
                    "1:43: a secret as ${env:NAME} or ${file:PATH} is wanted here, this is a number; put it in quotes",
                ],
            ),
            (
                "providers: [{name: a, transport: ses, region: eu, access_key_id: x}]",
                &[
                    "1:47: provider 'a': 'eu' is no AWS region, such as eu-west-1 or us-east-1",
                    "1:51: 'access_key_id' and 'secret_access_key' go together; give both or neither",
                ],
            ),
            (
                "providers: [{name: a, transport: mx, breaker: {failures: 0, probe_after: 1h, probe_max: 5m}, timeout: 5, quota: 0/d, burst: 5}]",
                &[
                    "1:58: 0 is out of range: 1 to 1000000",
                    "1:89: provider 'a': 'probe_max' (5m) is less than 'probe_after' (1h)",
                    "1:103: '5' needs a unit: 5s, 5m, 5h or 5d",
                    "1:113: a rate of 0 lets nothing pass: to stop mail, use 'hold' or 'reject'",
                    "1:118: key 'burst' does nothing without 'rate'",
                ],
            ),
            (
                "providers: [{name: a, transport: mx}, {name: a, transport: mx}]",
                &["1:46: there are two providers 'a', the first at providers/a.yaml:1:20"],
            ),
            ("providers: {a: {transport: mx}}", &["1:12: a list is wanted here, this is a mapping"]),
        ],
    );
}
