use std::net::IpAddr;

use crate::bounds::SOCKET_PATH;
use crate::value::{AlreadyReported, Text, Value};
use crate::{Address, ConfiguredAddress, Operations, OperationsAddress};

/// Reads the section; `api` is the address of the API.
pub(super) fn read(
    value: &Value<'_>,
    api: Option<&Address>,
) -> Result<Option<Operations>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("operations")?;
    let address_field = section.take("address");
    let address = address_field.required_or(
        "is required; write it as 127.0.0.1:7374, or as unix:/run/kes/operations.sock",
    );
    let address = address.and_then(|text| address_of(&text));
    let tls_field = section.take("tls");
    let tls = tls_field.boolean();
    let page = section.take("page").boolean();
    let details_field = section.take("details");
    let details = details_field.boolean();
    section.end();
    let (address, tls, page, details) = (address?, tls?, page?, details?);
    if details && !page {
        details_field.warn("has no effect without 'page: on'");
    }
    match &address {
        OperationsAddress::Unix(_) if tls => {
            return Err(tls_field.mistake("a unix socket needs no TLS; remove it"));
        }
        OperationsAddress::Tcp(own) if api.is_some_and(|api| overlap(own, api)) => {
            return Err(address_field
                .mistake(format!("{own} is the address of the API; choose another port")));
        }
        OperationsAddress::Tcp(own) if !tls && !is_loopback(own.host()) => {
            address_field.warn(
                "anybody who can connect from another machine may read health and metrics over \
                 plain HTTP; write 127.0.0.1 or a unix socket, or 'tls: on' to encrypt them",
            );
        }
        OperationsAddress::Unix(_) | OperationsAddress::Tcp(_) => {}
    }
    if let OperationsAddress::Tcp(own) = &address
        && page
        && details
        && !is_loopback(own.host())
    {
        details_field.warn(
            "anybody who can connect from another machine may read names of keys and identities; \
             write 127.0.0.1 or a unix socket, or remove it",
        );
    }
    Ok(Some(Operations { address, tls, page, details }))
}

fn address_of(text: &Text<'_>) -> Result<OperationsAddress, AlreadyReported> {
    if let Some(file) = text.as_str().strip_prefix("unix:") {
        let fault = match file {
            "" => "has no path; write it as unix:/run/kes/operations.sock".to_owned(),
            _ if file.len() > SOCKET_PATH => {
                format!("has a path of {} bytes, and the system takes {SOCKET_PATH}", file.len())
            }
            _ if file.contains('\0') => "has a zero byte".to_owned(),
            _ => {
                return Ok(OperationsAddress::Unix(super::path_of(text, file)));
            }
        };
        return Err(text.mistake(format!("{} {fault}", text.shown())));
    }
    match text.as_str().parse() {
        Ok(address) => {
            Ok(OperationsAddress::Tcp(ConfiguredAddress::new(address, text.value.place())))
        }
        Err(error) => {
            let other = "; a unix socket is written as unix:/run/kes/operations.sock";
            Err(text.mistake(format!("{}: {error}{other}", text.shown())))
        }
    }
}

/// Whether the system would refuse the second of two addresses.
fn overlap(one: &Address, other: &Address) -> bool {
    let is_any = |host: &str| matches!(host, "" | "0.0.0.0" | "::");
    let (a, b) = (one.host(), other.host());
    one.port() == other.port() && one.port() != 0 && (a == b || is_any(a) || is_any(b))
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
