use super::identity::{self, Roles};
use super::{path, secret};
use crate::value::{AlreadyReported, Value, by_word};
use crate::{ClientAuth, Password, Proxy, Tls};

pub(super) fn read(value: &Value<'_>, roles: &mut Roles) -> Result<Tls, AlreadyReported> {
    let mut section = value.section("tls")?;
    let key = section.take("key").required();
    let cert = section.take("cert").required();
    let password = password(&section.take("password"), &section.take("password_file"));
    let auth = auth(&section.take("auth"));
    let ca = section.take("ca").filled();
    let proxy = proxy(&section.take("proxy"), roles);
    section.end();

    let (key, cert) = (key?, cert?);
    if key.as_str().ends_with(".crt") && cert.as_str().ends_with(".key") {
        key.warn("key and cert seem to be swapped");
    }
    Ok(Tls {
        key: path(&key),
        cert: path(&cert),
        password: password?,
        auth: auth?,
        ca: ca?.as_ref().map(path),
        proxy: proxy?,
    })
}

fn password(literal: &Value<'_>, file: &Value<'_>) -> Result<Option<Password>, AlreadyReported> {
    match (literal.filled()?, file.filled()?) {
        (Some(_), Some(_)) => {
            Err(file.mistake("only one of password and password_file may be set"))
        }
        (Some(text), None) => Ok(Some(Password::Literal(secret(&text)))),
        (None, Some(text)) => Ok(Some(Password::File(path(&text)))),
        (None, None) => Ok(None),
    }
}

fn auth(value: &Value<'_>) -> Result<ClientAuth, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(ClientAuth::Any) };
    by_word(&ClientAuth::ALL, ClientAuth::word, &text.as_str().to_ascii_lowercase())
        .ok_or_else(|| text.mistake(format!("{} is neither on nor off", text.shown())))
}

pub(super) fn proxy(value: &Value<'_>, roles: &mut Roles) -> Result<Proxy, AlreadyReported> {
    let mut section = value.section("tls.proxy")?;
    let identities = identity::list(&section.take("identities"), roles, "a TLS proxy");
    let cert_header = header(&section.take("header"));
    section.end();
    Ok(Proxy { identities: identities?, cert_header: cert_header? })
}

fn header(value: &Value<'_>) -> Result<String, AlreadyReported> {
    let mut section = value.section("tls.proxy.header")?;
    let cert = section.take("cert").filled();
    section.end();
    let Some(text) = cert? else { return Ok("X-Tls-Client-Cert".to_owned()) };
    // The name of a header is a token (RFC 9110, 5.6.2).
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.as_str().bytes().all(of_a_token) {
        Ok(text.as_str().to_owned())
    } else {
        Err(text.mistake(format!("{} is not a valid name of an HTTP header", text.shown())))
    }
}
