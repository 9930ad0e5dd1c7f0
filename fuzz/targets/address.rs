//! Addresses, domains and the paths and parameters of MAIL and RCPT: what was read is shown, and read again, as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::mail::{Address, Domain, EnhancedStatus, Mid};
use waypost::smtp::command::{self, Command, ForwardPath};
use waypost::smtp::xtext;

fn address(address: &Address) {
    let shown = address.to_string();
    assert_eq!(shown.parse::<Address>().as_ref(), Ok(address), "{shown:?}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert_eq!(Address::new(address.local(), address.domain().clone()).as_ref(), Ok(address));
    assert!(address.domain().as_str().is_ascii());
    // As the client sends it, so the server reads it: nothing slips out of the angle brackets.
    for line in [format!("MAIL FROM:<{shown}> SMTPUTF8"), format!("RCPT TO:<{shown}>")] {
        match command::parse(line.as_bytes()) {
            Ok(Command::Mail { reverse_path: Some(read), params }) => assert!(read == *address && params.smtputf8),
            Ok(Command::Rcpt { forward_path: ForwardPath::Mailbox(read), .. }) => assert_eq!(read, *address),
            other => panic!("{line:?} is {other:?}"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match command::parse(data) {
        Ok(Command::Mail { reverse_path, params }) => {
            reverse_path.iter().for_each(address);
            if let Some(envid) = params.dsn.envid {
                assert_eq!(xtext::decode(&xtext::encode(&envid)), Some(envid));
            }
        }
        Ok(Command::Rcpt { forward_path, params }) => {
            if let ForwardPath::Mailbox(read) = &forward_path {
                address(read);
            }
            if let Some(orcpt) = params.orcpt {
                assert!(!orcpt.address.contains(char::is_control));
                assert_eq!(xtext::decode(&xtext::encode(&orcpt.address)), Some(orcpt.address));
            }
        }
        _ => {}
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(read) = text.parse::<Address>() {
        address(&read);
    }
    if let Ok(domain) = text.parse::<Domain>() {
        let shown = domain.to_string();
        assert_eq!(shown.parse::<Domain>().as_ref(), Ok(&domain));
        assert!(shown.is_ascii() && shown.len() <= 255);
        assert_eq!(domain.literal().is_some(), shown.starts_with('['));
    }
    if let Ok(status) = text.parse::<EnhancedStatus>() {
        assert_eq!(status.to_string().parse(), Ok(status));
    }
    if let Ok(mid) = text.parse::<Mid>() {
        assert_eq!(mid.to_string().parse(), Ok(mid));
    }
    if let Some(decoded) = xtext::decode(text) {
        assert_eq!(xtext::decode(&xtext::encode(&decoded)), Some(decoded));
    }
});
