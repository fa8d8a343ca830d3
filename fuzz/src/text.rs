use std::fmt::Debug;
use std::str::FromStr;

use kes_api::{Identity, SecretBytes, Timestamp};
use kes_client::Endpoints;
use kes_config::{Address, Level, parse_duration};

use crate::naive;

// The command line is a program, so that its parsers are compiled from their files.
#[path = "../../cli/base64.rs"]
mod base64;
#[path = "../../cli/commands/metric/sample.rs"]
mod sample;

/// Texts of the command line and of single fields: what is accepted is written and read back to the
/// same.
pub(crate) fn text(data: &[u8]) {
    let ours = SecretBytes::from_base64(data).ok().map(|bytes| bytes.expose().to_vec());
    assert_eq!(ours, naive::base64(data));

    let Ok(text) = std::str::from_utf8(data) else { return };
    match base64::decode(text) {
        Ok(bytes) => assert_eq!(Some(bytes.expose().to_vec()), ours),
        Err(message) => {
            let at = message.strip_prefix("illegal base64 data at input byte ");
            let at: Option<usize> = at.and_then(|at| at.parse().ok());
            assert!(ours.is_none() && at.is_some_and(|at| at <= text.len()), "{message}");
        }
    }

    both_ways::<Level>(text);
    both_ways::<Address>(text);
    both_ways::<Identity>(text);
    if let Ok(time) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        let of_fields = Timestamp::from_unix(time.unix_seconds(), time.subsecond_nanos());
        assert_eq!(of_fields, Ok(time));
    }
    if let Ok(duration) = parse_duration(text) {
        // What Go can hold.
        assert!(i64::try_from(duration.as_nanos()).is_ok(), "{text}");
        let again = format!("{}s{}ns", duration.as_secs(), duration.subsec_nanos());
        assert_eq!(parse_duration(&again), Ok(duration));
    }
    match text.parse::<Endpoints>() {
        Ok(endpoints) => {
            for endpoint in endpoints.iter() {
                let name = endpoint.to_string();
                assert!(!name.contains(['@', '/', ' ']) && name.contains(':'), "{name}");
            }
        }
        Err(error) => assert!(!error.to_string().contains('@'), "a password? {error}"),
    }
}

fn both_ways<T: FromStr<Err: Debug + PartialEq> + ToString + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
}

/// The metrics of a server, as `kes metric` reads them: any text is a reading, and a reading is
/// JSON.
pub(crate) fn metrics(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let json = serde_json::to_string(&sample::Sample::parse(&text)).expect("it is JSON");
    let value: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert!(value.as_object().is_some_and(|fields| fields.len() >= 15), "{json}");
}
