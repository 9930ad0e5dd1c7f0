//! One message, three recipients, three ways out.

use crate::support::dns::Dns;
use crate::support::moto::Moto;
use crate::support::postfix::{self, delivered_to};
use crate::support::relay;
use crate::support::{BOUND, free_port, marked, until, until_true};

#[test]
#[ignore = "needs postfix, knotd and moto"]
fn each_recipient_leaves_by_its_own_route_once() {
    let port = free_port();
    let mx = postfix::Setup::new("mx1.corp.example", 2, port).start();
    let smarthost = postfix::Setup::new("smart.isp.example", 3, free_port()).starttls().start();
    let ses = Moto::start("example.com");
    let dns = Dns::start("corp.example. MX 10 mx1.corp.example.\nmx1.corp.example. A 127.0.0.2");
    let relay = relay::Setup::new()
        .server(&dns.as_nameserver())
        .env("WAYPOST_TEST_SES_SECRET", "secret")
        .route("name: internal, match: {recipient_domain: corp.example}, deliver: [mx]")
        .route("name: partner, match: {recipient_domain: partner.example}, deliver: [smarthost]")
        .route("name: rest, deliver: [ses]")
        .provider(&format!("name: mx, transport: mx, port: {port}, tls: opportunistic"))
        .provider(&format!(
            "name: smarthost, transport: smtp, host: 127.0.0.3, port: {}, tls: opportunistic",
            smarthost.address.port()
        ))
        .provider(&format!("name: ses, {}", ses.as_provider()))
        .start();

    let to = ["hr@corp.example", "sales@partner.example", "someone@customer.example"];
    let content = marked(7, "app@example.com", "undisclosed@example.com", 2_000);
    // No To of the header may be widened, so none of the three is named in it.
    relay.send("app@example.com", &to, &content);

    let at_mx = mx.wait_for(1);
    let at_smarthost = smarthost.wait_for(1);
    let at_ses = until("SES has it", BOUND, || Some(ses.taken()).filter(|taken| !taken.is_empty()));
    until_true("all three attempts are settled", BOUND, || relay.log().attempts().len() >= 3);

    assert_eq!(at_mx.iter().flat_map(|m| delivered_to(m)).collect::<Vec<_>>(), [to[0]]);
    assert_eq!(at_smarthost.iter().flat_map(|m| delivered_to(m)).collect::<Vec<_>>(), [to[1]]);
    assert_eq!(at_ses.len(), 1);
    // moto adds the header's To to the envelope; SES itself does not.
    assert!(at_ses[0].destinations.contains(&to[2].to_owned()), "{at_ses:?}");
    assert!(!at_ses[0].destinations.iter().any(|d| to[..2].contains(&d.as_str())), "{at_ses:?}");
    for message in at_mx.iter().chain(&at_smarthost) {
        let content = content.as_slice();
        assert!(message.ends_with(content), "the content was changed:\n{}", String::from_utf8_lossy(message));
    }
    assert_eq!(at_ses[0].raw.matches("mark-000007-").count(), 1, "{}", at_ses[0].raw);
    assert!(smarthost.log().contains("TLS connection established"), "{}", smarthost.log());

    // The log tells each attempt: route, provider, outcome, and the provider's id among the reply.
    let attempts = relay.log().attempts();
    for (route, provider) in [("internal", "mx"), ("partner", "smarthost"), ("rest", "ses")] {
        let of_route: Vec<_> = attempts.iter().filter(|a| a.is("route", route)).collect();
        assert_eq!(of_route.len(), 1, "{route}: {attempts:?}");
        assert!(of_route[0].is("provider", provider) && of_route[0].is("outcome", "delivered"), "{of_route:?}");
        assert!(of_route[0].number("duration_ms").is_some(), "{of_route:?}");
    }
    let at_ses_log = attempts.iter().find(|a| a.is("provider", "ses")).unwrap();
    assert!(format!("{at_ses_log:?}").contains(&at_ses[0].id), "the provider's id is not told: {at_ses_log:?}");
    assert_eq!((mx.count(), smarthost.count(), ses.taken().len()), (1, 1, 1));
}
