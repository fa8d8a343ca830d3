use crate::Network;
use crate::value::{AlreadyReported, Value};

/// Reads the section: the load balancers whose connections begin with a header.
pub(super) fn read(value: &Value<'_>) -> Result<Vec<Network>, AlreadyReported> {
    if !value.is_given() {
        return Ok(Vec::new());
    }
    let mut section = value.section("proxy_protocol")?;
    let field = section.take("from");
    let from = networks(&field);
    section.end();
    let from = from?;
    if from.is_empty() {
        return Err(field.mistake(
            "is required; it lists the addresses of load balancers, such as [10.0.0.7, 10.1.0.0/16]",
        ));
    }
    Ok(from)
}

fn networks(field: &Value<'_>) -> Result<Vec<Network>, AlreadyReported> {
    field.texts("10.0.0.7, 10.1.0.0/16", |text| {
        let network: Network = text
            .as_str()
            .parse()
            .map_err(|error| text.mistake(format!("{}: {error}", text.shown())))?;
        if network.is_everything() {
            text.warn(
                "every client can name any address as its own, and none can connect without a \
                 header; name the load balancers alone",
            );
        }
        Ok(Some(network))
    })
}
